"""What hostile callers cost the service as a process of its own."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.door.case import batch, chunked, get
from tests.support.door import RawCaller
from tests.support.running import Running, running
from tests.support.scale import only_in_ci

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's memory is read from Linux's /proc"),
]

KIB = 1024
GROWTH_MIB = 5
"""By which one connection makes the process grow, whatever it sends."""
FLOOD = 32 * KIB * KIB
PIPELINED = 600_000
CONNECTIONS = 600
EACH = 256 * KIB
ALL_TOGETHER_MIB = 64 + 48
"""The input that all connections may hold, and what connections and answers need besides."""

ENDLESS = {
    "a field": (get()[:-2] + b"X: ", b"x" * 64 * KIB),
    "fields": (get()[:-2], b"X: y\r\n" * 10_000),
    "a path": (b"GET /", b"x" * 64 * KIB),
    "empty lines": (b"", b"\r\n" * 32 * KIB),
    "a chunk extension": (chunked(body=b"")[:-5] + b"1;", b"x" * 64 * KIB),
    "a chunk size": (chunked(body=b"")[:-5], b"0" * 64 * KIB),
    "chunks with extensions": (chunked(body=b"")[:-5], (b"1;" + b"x" * 4 * KIB + b"\r\n \r\n") * 16),
    "a trailer": (chunked()[:-2] + b"X: ", b"x" * 64 * KIB),
    "trailers": (chunked()[:-2], b"X: y\r\n" * 10_000),
    "the body of an offered upgrade": (batch("Connection: Upgrade", "Upgrade: h2c"), get() * 2000),
    "a body": (batch().replace(b"Content-Length: 15", b"Content-Length: 999999999999"), b" " * 64 * KIB),
    "bytes after a refusal": (b"\0", b"x" * 64 * KIB),
}


@asynccontextmanager
async def process(folder: Path) -> AsyncIterator[tuple[Running, int]]:
    """The service with its sandbox, warm, and its port."""
    async with running({"UPSTREAM_URL": "sandbox:", "LOG_LEVEL": "warning"}, folder) as service:
        port = int(service.url.rpartition(":")[2])
        for _ in range(3):
            for request in (get(), batch(), chunked(), b"\0"):
                async with connected(port) as caller:
                    await caller.send(request)
                    await caller.reply()
        yield service, port


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[RawCaller]:
    """One connection."""
    caller = RawCaller(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield caller
    finally:
        caller.writer.transport.abort()


def mebibytes(service: Running, name: str = "VmHWM") -> float:
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


async def flood(caller: RawCaller, begin: bytes, piece: bytes) -> None:
    """Send without end, or until the server has enough; nothing of the answers is read."""
    sent = 0
    with suppress(ConnectionError, RuntimeError, TimeoutError):
        caller.writer.write(begin)
        while sent < FLOOD and not caller.writer.transport.is_closing():
            caller.writer.write(piece)
            await asyncio.wait_for(caller.writer.drain(), 0.5)
            sent += len(piece)


async def test_whatever_a_connection_sends_without_end_the_process_grows_by_less_than_5_mib(tmp_path: Path) -> None:
    async with process(tmp_path) as (service, port):
        for name, (begin, piece) in ENDLESS.items():
            # The highest mark never falls, so each has to stay below it or raise it by little.
            before = mebibytes(service)
            async with connected(port) as caller:
                await flood(caller, begin, piece)
            assert mebibytes(service) - before < GROWTH_MIB, name
            assert await _answers(port), name


@only_in_ci
async def test_pipelined_requests_without_end_make_the_process_grow_by_less_than_5_mib(tmp_path: Path) -> None:
    async with process(tmp_path) as (service, port), connected(port) as caller:
        before = mebibytes(service)
        sending = asyncio.create_task(_send_all(caller, get() * 1000, PIPELINED // 1000))
        for _ in range(20_000):
            await caller.reader.readuntil(b'{"status":"alive"}')
        assert mebibytes(service) - before < GROWTH_MIB
        assert await _answers(port)
        sending.cancel()


@only_in_ci
async def test_many_connections_with_much_input_each_stay_within_the_bound_and_others_are_answered(
    tmp_path: Path,
) -> None:
    async with process(tmp_path) as (service, port):
        before = mebibytes(service)
        much = get() * (EACH // len(get()))
        loop = asyncio.get_running_loop()
        sockets = []
        for _ in range(CONNECTIONS):
            connection = socket.socket()
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", port))
            sockets.append(connection)
        for connection in sockets:
            with suppress(BlockingIOError):
                connection.send(much)
        for _ in range(5):
            # Its turn comes after some of each of the others': 0.3 s on a processor of its own, 4 s on one of ten.
            assert await asyncio.wait_for(_answers_in_the_end(port), 90)
        assert mebibytes(service) - before < ALL_TOGETHER_MIB
        for connection in sockets:
            connection.close()
        assert await _answers(port)


async def _send_all(caller: RawCaller, piece: bytes, times: int) -> None:
    with suppress(ConnectionError):
        for _ in range(times):
            caller.writer.write(piece)
            await caller.writer.drain()


async def _answers_in_the_end(port: int) -> bool:
    """Where the machine is busy, all that the others sent is read at once, and for a moment nobody else has room."""
    while True:
        try:
            return await _answers(port)
        except (ConnectionError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.1)


async def _answers(port: int) -> bool:
    async with connected(port) as caller:
        await caller.send(get())
        return (await caller.reply()).status == 200
