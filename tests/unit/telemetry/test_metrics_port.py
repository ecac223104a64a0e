"""The metrics port: what it answers, and what it bears."""

import asyncio
import asyncio.constants
import errno
import gzip
import math
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from app.telemetry import metrics_port
from app.telemetry.metrics_port import MAX_CONNECTIONS, MetricsPort, serve_metrics

pytestmark = pytest.mark.anyio

SCRAPE = b"GET /metrics HTTP/1.1\r\nHost: x\r\n%s\r\n"


def registry_with(children: int) -> CollectorRegistry:
    """Metrics of which one has as many children."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # as the service does
    registry = CollectorRegistry()
    Counter("some", "A counter.", registry=registry).inc()
    times = Histogram("times_seconds", "A histogram.", ["route"], registry=registry)
    for number in range(children):
        times.labels(f"/{number}").observe(0.1)
    return registry


def bound() -> socket.socket:
    """A socket on a free port of loopback."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


@asynccontextmanager
async def port_of(registry: CollectorRegistry, listener: socket.socket | None = None) -> AsyncIterator[int]:
    """The metrics port in this event loop."""
    listener = listener or bound()
    listener.listen()
    task = asyncio.create_task(MetricsPort(registry).serve(listener))
    await asyncio.sleep(0)
    yield listener.getsockname()[1]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    asyncio.get_running_loop().set_exception_handler(None)


async def exchange(port: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    """Status, headers and body of the reply to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    reply = await reader.read()
    writer.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}, body


@pytest.mark.parametrize("children", [0, 1, 50])
async def test_a_scrape_is_what_the_library_writes(children: int) -> None:
    registry = registry_with(children)
    async with port_of(registry) as port:
        status, headers, body = await exchange(port, SCRAPE % b"")
    assert status == "HTTP/1.1 200 OK"
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert int(headers["content-length"]) == len(body)
    assert body == generate_latest(registry)


async def test_openmetrics_and_gzip_are_given_to_who_asks_for_them() -> None:
    registry = registry_with(50)
    accepted = b"Accept: application/openmetrics-text; version=1.0.0\r\nAccept-Encoding: gzip\r\n"
    async with port_of(registry) as port:
        _, headers, body = await exchange(port, SCRAPE % accepted)
    assert headers["content-type"].startswith("application/openmetrics-text")
    assert headers["content-encoding"] == "gzip"
    written = generate_openmetrics(registry, version="1.0.0")  # type: ignore[no-untyped-call]  # no types for it
    assert gzip.decompress(body) == written


async def test_names_restrict_a_scrape() -> None:
    async with port_of(registry_with(1)) as port:
        _, _, body = await exchange(port, b"GET /metrics?name[]=some_total HTTP/1.1\r\n\r\n")
    assert b"some_total 1.0" in body
    assert b"times" not in body


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405 Method Not Allowed"),
        (b"\x16\x03\x01\x02\r\n\r\n", "400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", "400 Bad Request"),
    ],
)
async def test_other_requests_have_a_short_answer(request_: bytes, status: str) -> None:
    async with port_of(registry_with(0)) as port:
        line, _, body = await exchange(port, request_)
    assert (line, body) == (f"HTTP/1.1 {status}", b"")


async def test_who_is_silent_makes_room_for_who_asks() -> None:
    async with port_of(registry_with(0)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * MAX_CONNECTIONS)]
        status, _, _ = await exchange(port, SCRAPE % b"")
        assert status == "HTTP/1.1 200 OK"
        # All but the newest were closed.
        ended = await asyncio.gather(*(asyncio.wait_for(read.read(), 5) for read, _ in silent[: 2 * MAX_CONNECTIONS]))
        assert ended == [b""] * 2 * MAX_CONNECTIONS
        for _, writer in silent:
            writer.close()


async def test_a_request_that_does_not_come_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_port, "REQUEST_SECONDS", 0.05)
    async with port_of(registry_with(0)) as port:
        assert await exchange(port, b"GET /metrics HTTP/1.1\r\n") == ("", {}, b"")


class Listener(socket.socket):
    """A listening socket for whose connections there may be no descriptor."""

    is_full = True
    tries = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.tries += 1
        if self.is_full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_it_tries_once_a_second_and_then_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.constants, "ACCEPT_RETRY_DELAY", 0.05)
    told: list[str] = []
    monkeypatch.setattr(metrics_port.log, "warning", lambda text, **_: told.append(text))
    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    async with port_of(registry_with(0), listener) as port:
        scrape = asyncio.create_task(exchange(port, SCRAPE % b""))
        await asyncio.sleep(0.5)
        assert 1 <= listener.tries <= 10
        assert len(told) == listener.tries
        listener.is_full = False
        assert (await asyncio.wait_for(scrape, 5))[0] == "HTTP/1.1 200 OK"


@pytest.fixture
def heavy_port() -> Iterator[int]:
    """A port in a thread of its own, whose scrape takes a tenth of a second."""
    listener = bound()
    serve_metrics(registry_with(300), listener)
    yield listener.getsockname()[1]
    listener.close()


async def test_a_scrape_never_holds_up_the_loop_for_20_ms(heavy_port: int) -> None:
    """What counts is the processor's time that the other thread takes during one turn of this loop."""
    (thread,) = (each for each in threading.enumerate() if each.name == "metrics port")
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    left, right = socket.socketpair()
    shortest = math.inf
    for _ in range(30):
        if shortest < 0.02:
            break  # this one was undisturbed by whatever else runs on the machine
        longest = 0.0
        scrape = asyncio.create_task(exchange(heavy_port, SCRAPE % b""))
        while not scrape.done():
            begun = time.clock_gettime(clock)
            for _ in range(20):  # each lets go of the interpreter, as every answer to a caller does
                left.send(b"x")
                right.recv(1)
            longest = max(longest, time.clock_gettime(clock) - begun)
            await asyncio.sleep(0)
        assert (await scrape)[0] == "HTTP/1.1 200 OK"
        shortest = min(shortest, longest)
    left.close()
    right.close()
    assert shortest < 0.02
