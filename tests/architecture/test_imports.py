"""The rooms of the house: who may import whom, and how long a module may be."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.conftest import ROOT

MODULES = sorted((ROOT / "app").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

# Room: what its modules must not import. Wiring happens in main and start alone.
FORBIDDEN: dict[str, set[str]] = {
    "api": {"app.upstream", "app.main", "app.settings", "httpx"},
    "lookup": {"app.api", "app.upstream", "app.main", "app.settings", "fastapi", "starlette", "uvicorn", "httpx"},
    "upstream": {"app.api", "app.main", "app.settings", "fastapi", "starlette"},
    "telemetry": {"app", "fastapi", "starlette", "httpx"},
}
FRAMEWORKS = {"fastapi", "starlette"}


@cache
def parsed(path: Path) -> ast.Module:
    """A module's source."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> set[str]:
    """The dotted names that a module imports, wherever in it, each member of a ``from`` import included."""
    return set(_imports_of(path))


def _imports_of(path: Path) -> Iterator[str]:
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def belongs(name: str, to: str) -> bool:
    """Whether an imported name is this package or lies in it."""
    return name == to or name.startswith(f"{to}.")


def test_there_is_something_to_check() -> None:
    assert {"app/main.py", "app/lookup/engine.py", "app/upstream/client.py", "app/api/messages.py"} <= set(NAMES)


def test_a_module_imports_only_what_its_room_may() -> None:
    for path in MODULES:
        room = path.relative_to(ROOT / "app").parts[0]
        found = {name for name in imports_of(path) for bad in FORBIDDEN.get(room, ()) if belongs(name, bad)}
        own = {name for name in found if room == "telemetry" and belongs(name, "app.telemetry")}
        assert found - own == set(), path


def test_httpx_is_known_to_upstream_and_main_alone_and_the_framework_to_api_and_main() -> None:
    for path in MODULES:
        room = path.relative_to(ROOT / "app").parts[0].removesuffix(".py")
        if any(belongs(name, "httpx") for name in imports_of(path)):
            assert room in {"upstream", "main"}, path
        if any(belongs(name, framework) for name in imports_of(path) for framework in FRAMEWORKS):
            assert room in {"api", "main", "server"}, path


def test_redis_is_known_to_two_modules_and_the_store_to_main_alone() -> None:
    for path, name in zip(MODULES, NAMES, strict=True):
        if any(belongs(each, "redis") for each in imports_of(path)):
            assert name in {"app/lookup/cache/redis.py", "app/lookup/cache/wire.py"}
        if any(belongs(each, "app.lookup.cache.redis") for each in imports_of(path)):
            assert name == "app/main.py"


def test_a_module_is_short_enough_to_be_read_at_once() -> None:
    lines = {
        name: len(path.read_text(encoding="utf-8").splitlines()) for path, name in zip(MODULES, NAMES, strict=True)
    }
    # All that relies on uvicorn's internals stands in one module, which may be longer.
    assert lines.pop("app/server/protocol.py") <= 650
    assert {name: number for name, number in lines.items() if number > 400} == {}


def test_a_module_says_why_it_exists() -> None:
    assert [path for path in MODULES if not ast.get_docstring(parsed(path))] == []
