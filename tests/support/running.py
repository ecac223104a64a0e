"""The service as a real process, and callers that keep their connections."""

import asyncio
import itertools
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60

_PORTS = itertools.count(os.getpid() % 1000)


@dataclass
class Running:
    """A started process: its address, and what it has written to standard error so far."""

    process: asyncio.subprocess.Process
    url: str
    log: bytearray = field(default_factory=bytearray)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, within: float = 60) -> int:
        """The exit status, once the process has ended."""
        return await asyncio.wait_for(self.process.wait(), within)

    @property
    def text(self) -> str:
        """The log as text."""
        return self.log.decode()


def free_port() -> int:
    """A port that nobody listens on, and that nobody else of these tests is given.

    From below the range that the kernel takes ports from by itself, a part of its own for each worker: a port that
    was only free a moment ago may belong to another test's server by the time it is used.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 16
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", 12_000 + 1000 * worker + port % 1000))
            found: int = probe.getsockname()[1]
            return found
    raise AssertionError("no port is free")


@asynccontextmanager
async def running(
    variables: Mapping[str, str], folder: Path, port: int | None = None, descriptors: int | None = None
) -> AsyncIterator[Running]:
    """``python -m app`` in an empty folder, started and ready, with these variables and no other settings.

    ``port``: where another process served before, and whoever comes back looks for this one; ``descriptors``: its limit
    of open files, where it is not that of the tests.
    """
    port = free_port() if port is None else port
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *(() if descriptors is None else ("sh", "-c", f'ulimit -n {descriptors} && exec "$0" "$@"')),
        *(sys.executable, "-m", "app"),
        cwd=folder,
        env={**plain, "PYTHONPATH": str(ROOT), "PORT": str(port), "METRICS_PORT": "0", **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    service = Running(process, f"http://127.0.0.1:{port}")
    reader = asyncio.create_task(_collect(process, service.log))
    try:
        await _until_ready(service, port)
        yield service
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reader


async def _collect(process: asyncio.subprocess.Process, log: bytearray) -> None:
    assert process.stderr is not None
    while chunk := await process.stderr.read(65536):
        log += chunk


async def _until_ready(service: Running, port: int) -> None:
    async with asyncio.timeout(START_SECONDS):
        while service.process.returncode is None:
            if await _is_ready(port):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(service.text)


async def _is_ready(port: int) -> bool:
    """Asked by hand: a client of httpx, and its tries, would add a fifth to what the start costs."""
    with suppress(ConnectionError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /readyz HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
        reply = await reader.read()
        writer.close()
        return reply.startswith(b"HTTP/1.1 200 ")
    return False
