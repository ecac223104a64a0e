"""Who is measured, and how each is started. Only command lines and environment variables, so any commit will do.

Every server has the first core to itself. The load and the sandbox share the second: together they need less than
half of it at the rates measured here (each run tells how much), and on the candidates' core they would take their time.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.processes import Process, cores, free_port, running
from bench.requests import Shape

ROOT = Path(__file__).resolve().parent.parent
KEY = "bench-0123456789abcdef0123456789"
ORIGIN = "https://frontend.example.com"
TOKEN = "sandbox-token"
STATE_PATH = "/json/state.php"
ENTRY = f'{{"token":"{TOKEN}","detail":0,"id_sms":'


@dataclass(frozen=True)
class Candidate:
    """Something that answers for messages. ``command`` makes the command line from the port to listen on."""

    name: str
    title: str
    command: Callable[[int], list[str]]
    one: Shape
    many: Shape
    env: dict[str, str] = field(default_factory=dict)


def _python(*arguments: str, checkout: Path = ROOT) -> list[str]:
    """The checkout's own Python where it has one, since another commit may need other packages."""
    own = checkout / ".venv" / "bin" / "python"
    return [str(own) if own.exists() else sys.executable, "-m", *arguments]


def uvicorn(app: str) -> Callable[[int], list[str]]:
    """The command line of an application served by uvicorn alone."""
    # The peers are spared what a service needs besides: uvicorn's access log and, unless they have their own, keys.
    return lambda port: _python("uvicorn", app, "--port", str(port), "--no-access-log", "--log-level", "warning")


def _shapes(*headers: tuple[str, str]) -> tuple[Shape, Shape]:
    return (
        Shape("GET", "/messages/{id}/state", headers),
        Shape(
            "POST",
            "/messages/states",
            (*headers, ("Content-Type", "application/json")),
            '{"ids":[',
            ",",
            '],"detail":false}',
        ),
    )


def service(checkout: Path, **settings: str) -> Candidate:
    """This service with everything on; a setting that a commit does not know yet is ignored by it."""
    everything = {
        "API_KEYS": f"bench:{KEY}",
        "CORS_ORIGINS": ORIGIN,
        "LOG_LEVEL": "info",
        "LOG_FORMAT": "json",
        "METRICS_PORT": str(free_port()),
        "PYTHONPATH": str(checkout),
    }
    return Candidate(
        "service",
        "this service",
        lambda _port: _python("app", checkout=checkout),
        *_shapes(("X-API-Key", KEY)),
        everything | settings,
    )


def wide(checkout: Path) -> Candidate:
    """This service with upstream requests of up to 1000 ids."""
    return replace(service(checkout, UPSTREAM_BATCH_SIZE="1000"), name="wide", title="this service, batches of 1000")


PLAIN = Candidate("plain", "FastAPI + httpx", uvicorn("bench.peers.plain:app"), *_shapes())
BATCHED = Candidate(
    "batched",
    "FastAPI + httpx + aiodataloader + cachetools",
    uvicorn("bench.peers.batched:app"),
    *_shapes(("X-API-Key", KEY)),
    {"API_KEY": KEY},
)
CEILING = Candidate("ceiling", "FastAPI, a constant", uvicorn("bench.peers.ceiling:app"), *_shapes())
ROUTE = Candidate("route", "Starlette's route, a constant", uvicorn("bench.peers.route:app"), *_shapes())
BARE = Candidate("bare", "uvicorn with a bare ASGI app", uvicorn("bench.peers.bare:app"), *_shapes())
PEERS = (PLAIN, BATCHED, CEILING, ROUTE, BARE)

_ASK = Shape("POST", STATE_PATH, (("Content-Type", "text/json; charset=utf-8"),), f"[{ENTRY}", "}," + ENTRY, "}]")
PLATFORM = "platform"
"""The name of the sandbox as a candidate: what its callers would see without anything in between."""


@dataclass(frozen=True)
class Platform:
    """A sandbox: ``latency`` in seconds for each request, spent in one of ``workers`` places."""

    latency: float
    workers: int

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.workers} workers x {self.latency * 1000:.0f} ms"

    def candidate(self) -> Candidate:
        """It, asked directly."""
        options = ("--latency", str(self.latency), "--workers", str(self.workers))
        return Candidate(
            PLATFORM,
            "the platform itself",
            lambda port: _python("app.upstream.sandbox", "--port", str(port), *options),
            _ASK,
            _ASK,
        )


@contextmanager
def started(
    candidate: Candidate, folder: Path, platform: Process | None = None, *, pin: bool = True
) -> Iterator[Process]:
    """Run a candidate before the platform, or the platform itself where there is none; each on a core, or on any.

    Its environment holds nothing but what stands here, and its folder no ``.env``.
    """
    port = free_port()
    pair = cores() if pin else None
    core = None if pair is None else pair[0 if platform else 1]
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "PORT": str(port),
        "SECRETS_DIR": str(folder),
        "UPSTREAM_URL": f"http://{platform.host}{STATE_PATH}" if platform else "",
        "UPSTREAM_TOKEN": TOKEN,
    }
    with running(candidate.command(port), env | candidate.env, core, port, folder) as process:
        yield process
