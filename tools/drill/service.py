"""A service in front of a platform, whose log, descriptors and signals a drill has in its hand.

It is a process of this Python, or the container of an image that is run as ``deploy/`` runs it.
"""

import asyncio
import contextlib
import fcntl
import itertools
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.running import free_port
from tools.drill.diagnosis import parse

ROOT = Path(__file__).parent.parent.parent
CALLERS = ("shop", "crm")
LOUD = "importer"
START_SECONDS = 30.0
PIPE_BYTES = 4096
"""A small pipe, which some lines fill."""
PIPE_IN_CONTAINER = "/stderr"
RESTRICTED = (
    "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges"
)  # fmt: skip
"""How a container runs: as in ``deploy/``, but in the machine's own network, where the drill's platform is."""
DOCKER_SECONDS = 1.0
HEALTH = ("--health-interval=1s", "--health-start-period=0s")
_NAMES = itertools.count()


def key_of(name: str) -> str:
    """The key of one of the drill's callers."""
    return f"key-of-the-drill-{name}"


@dataclass(frozen=True)
class Place:
    """Where services run: with their files in ``folder``, and in containers of ``image`` where one is named."""

    folder: Path
    image: str | None = None


class Service:
    """A started service. ``process`` ends with its status; ``container`` is its name where it is one.

    ``unread`` is the end of the pipe that its log comes from, where it is one.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        container: str | None,
        log: Path,
        host: str,
        port: int,
        metrics_port: int,
        unread: int | None,
    ) -> None:
        self._process = process
        self._container = container
        self.host = host
        self.url = f"http://{host}:{port}"
        self.metrics_url = f"http://{host}:{metrics_port}/metrics"
        self.metrics_port = metrics_port
        self._log = log
        self._unread = unread
        if unread is not None:
            asyncio.get_running_loop().add_reader(unread, self._read)

    async def begun(self) -> None:
        """Wait until the process runs; it may not have reached its own first line yet."""
        while self._container is not None and await self.told("{{.State.Running}}") != "true":  # noqa: ASYNC110 - only Docker knows
            await asyncio.sleep(0.01)

    async def ready(self) -> None:
        """Wait until it answers. Raises RuntimeError with its log where it does not."""
        end = asyncio.get_running_loop().time() + START_SECONDS
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await _ready(client, self.url):
                if self._process.returncode is not None or asyncio.get_running_loop().time() > end:
                    raise RuntimeError(f"the service at {self.url} does not start:\n{self._log.read_text()}")
                await asyncio.sleep(0.05)

    async def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._container is not None:
            await _docker("kill", f"--signal={number.name}", self._container)
        elif self._process.returncode is None:
            # Not by the process's own method, which would take the status away from the loop that waits for it.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    async def ended(self, within: float) -> int:
        """The exit status. Raises TimeoutError after ``within`` seconds, and those that Docker takes to notice."""
        return await asyncio.wait_for(self._process.wait(), within + (DOCKER_SECONDS if self._container else 0))

    async def told(self, template: str) -> str:
        """What Docker tells of the container, by a template of ``docker inspect``."""
        assert self._container is not None
        return await _docker("inspect", f"--format={template}", self._container)

    async def kill(self) -> None:
        """End it, whatever it does."""
        if self._container is not None:
            await _docker("rm", "--force", self._container)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def scrape(self, client: httpx.AsyncClient) -> dict[str, float]:
        """The metrics as they are now."""
        return parse((await client.get(self.metrics_url)).text)

    def loud(self) -> list[str]:
        """Every message so far at warning and above."""
        entries = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [each["message"] for each in entries if each["level"] in ("warning", "error", "critical")]

    def stop_reading(self) -> None:
        """Read the log no more, where it comes from a pipe."""
        if self._unread is not None:
            asyncio.get_running_loop().remove_reader(self._unread)

    def _read(self) -> None:
        assert self._unread is not None
        os.read(self._unread, PIPE_BYTES)


@asynccontextmanager
async def service(
    url: str, place: Place, settings: Mapping[str, str], log: str = "file", descriptors: int | None = None
) -> AsyncIterator[Service]:
    """Start the service and wait until it is ready. ``log`` and ``descriptors`` as in ``Fault``."""
    async with started(url, place, settings, log, descriptors) as running:
        await running.ready()
        yield running


@asynccontextmanager
async def started(
    url: str, place: Place, settings: Mapping[str, str], log: str = "file", descriptors: int | None = None
) -> AsyncIterator[Service]:
    """The same, not waited for."""
    port, metrics_port = free_port(), free_port()
    variables = {
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "UPSTREAM_URL": url,
        "UPSTREAM_TOKEN": "drill",
        "API_KEYS": ",".join(f"{name}:{key_of(name)}" for name in (*CALLERS, LOUD)),
        "UPSTREAM_CONNECT_TIMEOUT": "1",
        "UPSTREAM_ATTEMPT_TIMEOUT": "1.5",
        **settings,
    }
    pipe = place.folder / f"{port}.pipe"
    unread = _pipe(pipe) if log == "unread" else None
    name = f"drill-{os.getpid()}-{next(_NAMES)}"
    if place.image is None:
        command = _as_process(_redirected(log, str(pipe)), descriptors)
    else:
        command = _as_container(place.image, name, variables, _redirected(log, PIPE_IN_CONTAINER), pipe, descriptors)
    file = place.folder / f"{port}.log"
    with file.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=place.folder,
            env=_environment(variables) if place.image is None else None,
            stderr=output,
        )
    container = None if place.image is None else name
    asked = settings.get("HOST", "::")
    host = "127.0.0.1" if asked == "::" else f"[{asked}]"
    running = Service(process, container, file, host, port, metrics_port, unread)
    try:
        yield running
    finally:
        await running.kill()
        running.stop_reading()
        if unread is not None:
            os.close(unread)


def _pipe(path: Path) -> int:
    """A small pipe with a name, open for reading. Another user may write to it, as that of an image."""
    os.mkfifo(path)
    path.chmod(0o622)
    # For writing as well, or reading would end as soon as nobody else writes.
    descriptor = os.open(path, os.O_RDWR)
    fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return descriptor


def _redirected(log: str, pipe: str) -> str:
    """Where a shell sends standard error."""
    return {"file": "", "unread": f"2>{shlex.quote(pipe)}", "full": "2>/dev/full", "closed": "2>&-"}[log]


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}


def _as_process(redirected: str, descriptors: int | None) -> list[str]:
    limit = "" if descriptors is None else f"ulimit -n {descriptors} && "
    return ["sh", "-c", f'{limit}exec "$0" "$@" {redirected}', sys.executable, "-m", "app"]


def _as_container(
    image: str, name: str, variables: Mapping[str, str], redirected: str, pipe: Path, descriptors: int | None
) -> list[str]:
    """The image as it is, unless a shell has to send its standard error elsewhere; the shell is gone then."""
    options = [*RESTRICTED, *HEALTH, f"--name={name}", *(f"--env={key}={value}" for key, value in variables.items())]
    if descriptors is not None:
        options.append(f"--ulimit=nofile={descriptors}:{descriptors}")
    if pipe.exists():
        options.append(f"--volume={pipe}:{PIPE_IN_CONTAINER}")
    if not redirected:
        return ["docker", "run", "--rm", *options, image]
    shell = ["-c", f'exec "$0" "$@" {redirected}', "python", "-m", "app"]
    return ["docker", "run", "--rm", *options, "--entrypoint=sh", image, *shell]


async def _docker(*arguments: str) -> str:
    """The output of a command about a container; empty where it is not there (yet, or any more)."""
    process = await asyncio.create_subprocess_exec(
        "docker", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return output.decode().strip()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
