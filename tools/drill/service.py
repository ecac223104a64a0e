"""A service process in front of a platform, whose log, descriptors and signals a drill has in its hand."""

import asyncio
import contextlib
import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bench.processes import free_port
from tools.drill.diagnosis import parse

ROOT = Path(__file__).parent.parent.parent
CALLERS = ("shop", "crm")
LOUD = "importer"
START_SECONDS = 30.0
PIPE_BYTES = 4096
"""A small pipe, which some lines fill."""


def key_of(name: str) -> str:
    """The key of one of the drill's callers."""
    return f"key-of-the-drill-{name}"


class Service:
    """A started process. ``unread`` is the end of the pipe that its log comes from, where it is one."""

    def __init__(
        self, process: asyncio.subprocess.Process, log: Path, port: int, metrics_port: int, unread: int | None
    ) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_port = metrics_port
        self._log = log
        self._unread = unread
        if unread is not None:
            asyncio.get_running_loop().add_reader(unread, self._read)

    async def scrape(self, client: httpx.AsyncClient) -> dict[str, float]:
        """The metrics as they are now."""
        return parse((await client.get(f"http://127.0.0.1:{self.metrics_port}/metrics")).text)

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
    url: str, folder: Path, settings: Mapping[str, str], log: str = "file", descriptors: int | None = None
) -> AsyncIterator[Service]:
    """Start ``python -m app`` and wait until it is ready. ``log`` and ``descriptors`` as in ``Fault``."""
    async with started(url, folder, settings, log, descriptors) as running:
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_SECONDS):
            while not await _ready(client, running.url):  # noqa: ASYNC110 - only the process knows when it is ready
                await asyncio.sleep(0.05)
        yield running


@asynccontextmanager
async def started(
    url: str, folder: Path, settings: Mapping[str, str], log: str = "file", descriptors: int | None = None
) -> AsyncIterator[Service]:
    """The same, not waited for."""
    port, metrics_port = free_port(), free_port()
    variables = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "PORT": str(port),
        "METRICS_PORT": str(metrics_port),
        "UPSTREAM_URL": url,
        "UPSTREAM_TOKEN": "drill",
        "API_KEYS": ",".join(f"{name}:{key_of(name)}" for name in (*CALLERS, LOUD)),
        "UPSTREAM_CONNECT_TIMEOUT": "1",
        "UPSTREAM_ATTEMPT_TIMEOUT": "1.5",
        **settings,
    }
    file = folder / f"{port}.log"
    output = os.open(file, os.O_WRONLY | os.O_CREAT)
    unread = None
    if log == "unread":
        os.close(output)
        unread, output = os.pipe()
        fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    elif log == "full":
        os.close(output)
        output = os.open("/dev/full", os.O_WRONLY)
    process = await asyncio.create_subprocess_exec(
        *(() if descriptors is None else ("sh", "-c", f'ulimit -n {descriptors} && exec "$0" "$@"')),
        *(sys.executable, "-m", "app"),
        cwd=folder,
        env=variables,
        stderr=output,
    )
    os.close(output)
    running = Service(process, file, port, metrics_port, unread)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        running.stop_reading()
        if unread is not None:
            os.close(unread)


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
