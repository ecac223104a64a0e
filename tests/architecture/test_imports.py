"""The packages of the service: who may import whom, and how long a module may be."""

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

# Room: the other rooms that its modules may import. ``api`` and ``upstream`` meet in ``lookup``.
MAY_USE: dict[str, set[str]] = {
    "telemetry": set(),
    "settings": {"telemetry"},  # which texts of a log line are the service's own
    "lookup": {"telemetry", "settings"},
    "upstream": {"lookup", "telemetry", "settings"},
    "api": {"lookup", "telemetry", "settings"},
    "collectors": {"lookup", "upstream", "telemetry"},
    "service": {"api", "lookup", "upstream", "telemetry", "settings", "collectors"},
    "main": {"service", "api", "upstream", "lookup", "telemetry", "settings"},
    "server": {"api", "telemetry", "settings", "main"},
    "__main__": {"server"},
    "__init__": set(),
}
# Package: the rooms that may import it.
LIBRARIES: dict[str, set[str]] = {
    "httpx": {"upstream"},
    "aiohttp": {"upstream"},
    "fastapi": {"api", "main", "server"},
    "starlette": {"api", "main", "server"},
    "uvicorn": {"server", "upstream"},  # also the sandbox where it runs alone
    "httptools": {"server"},
    "redis": {"lookup"},
    "prometheus_client": {"telemetry", "collectors", "server", "service"},
    "opentelemetry": {"telemetry"},
    "pydantic_settings": {"settings"},
}


# The only state of the application, and what libraries want to be assigned.
ALLOWED_ASSIGNMENTS = {
    "app/main.py": {"app.state.service"},
    "app/api/access_log.py": {"record.created", "record.fields"},  # a log record made by hand
    "app/api/description.py": {"app.openapi", "app.openapi_schema"},  # FastAPI's way to extend its document
    "app/server/protocol.py": {  # over uvicorn's protocol, whose fields these are
        "self._framing.trailer_fields",
        "self._framing.plain_bytes",
        "self.server_state.total_requests",
        "self.cycle.disconnected",
        "cycle.disconnected",
        "cycle.body",
        "cycle.keep_alive",
        "self.cycle.keep_alive",
        "self.cycle.more_body",
    },
    "app/telemetry/logs.py": {  # the standard library's own way to configure it
        "logging.logThreads",
        "logging.logProcesses",
        "logging.logMultiprocessing",
        "logging.getLogger(name).propagate",
        "told.fields",  # a log record made by hand
    },
    "app/telemetry/uncaught.py": {  # Python's own hooks
        "warnings.showwarning",
        "sys.excepthook",
        "sys.unraisablehook",
        "threading.excepthook",
    },
    "app/upstream/connection.py": {"connector._factory"},  # aiohttp's, in its one fenced place
}


@cache
def parsed(path: Path) -> ast.Module:
    """A module's source."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> set[str]:
    """The dotted names that a module imports when it runs, each member of a ``from`` import included."""
    return set(_imports_of(path, parsed(path)))


def _imports_of(path: Path, tree: ast.AST) -> Iterator[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)
        else:
            yield from _imports_of(path, node)


def room_of(name: str) -> str:
    """The room of a module or imported name below ``app``."""
    return name.removeprefix("app.").split(".")[0]


ROOMS = {path: room_of(name.removesuffix(".py").replace("/", ".")) for path, name in zip(MODULES, NAMES, strict=True)}


def belongs(name: str, to: str) -> bool:
    """Whether an imported name is this package or lies in it."""
    return name == to or name.startswith(f"{to}.")


def test_there_is_something_to_check() -> None:
    assert {"app/main.py", "app/lookup/engine.py", "app/upstream/client.py", "app/api/messages.py"} <= set(NAMES)


def test_every_room_is_one_that_the_map_has() -> None:
    assert set(ROOMS.values()) == set(MAY_USE)


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = ROOMS[path]
    used = {room_of(name) for name in imports_of(path) if belongs(name, "app") and name != "app.__version__"}
    assert used - {room} <= MAY_USE[room]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_library_is_known_to_its_rooms_alone(path: Path) -> None:
    for library, rooms in LIBRARIES.items():
        if any(belongs(name, library) for name in imports_of(path)):
            assert ROOMS[path] in rooms, library


def test_redis_is_known_to_one_module_and_the_store_to_service_alone() -> None:
    for path, name in zip(MODULES, NAMES, strict=True):
        if any(belongs(each, "redis") for each in imports_of(path)):
            assert name == "app/lookup/cache/redis.py"
        if any(belongs(each, "app.lookup.cache.redis") for each in imports_of(path)):
            assert name == "app/service.py"


def test_no_file_name_stands_twice() -> None:
    twice = [name for name, count in Counter(path.name for path in MODULES).items() if count > 1]
    assert twice == ["__init__.py"]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_attribute_of_another_modules_object_is_assigned(path: Path) -> None:
    """Whoever needs to tell somebody gets that somebody in its constructor."""
    tree = parsed(path)
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
    }
    own |= {
        each.target.id
        for each in ast.walk(tree)
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    foreign = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Attribute)
        and not (isinstance(target.value, ast.Name) and target.value.id in {"self", "cls"})
        and target.attr not in own
    }
    assert foreign <= ALLOWED_ASSIGNMENTS.get(str(path.relative_to(ROOT)), set())


def test_a_module_is_short_enough_to_be_read_at_once() -> None:
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for path, name in zip(MODULES, NAMES, strict=True)
    }
    # All that relies on uvicorn's internals stands in one module, which may be longer.
    assert lines.pop("app/server/protocol.py") <= 650
    assert {name: number for name, number in lines.items() if number > 400} == {}


def test_a_module_says_why_it_exists() -> None:
    assert [path for path in MODULES if not ast.get_docstring(parsed(path))] == []
