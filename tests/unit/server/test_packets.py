"""What of an answer leaves together: each write is a system call, and a packet where nothing else waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.server.connections import Connections
from app.server.protocol import HttpProtocol
from app.server.refusals import Limits
from app.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

LENGTH = (b"content-length", b"4")


class Written(asyncio.Transport):
    """Notes what is written; nobody is at the other end."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def write(self, data: Any) -> None:
        if self.closed:
            raise RuntimeError("closed")  # as uvloop does
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.writes))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


Body = Callable[[bytes, bool], Awaitable[None]]
"""Sends a part of a body, and says whether more comes."""
Answer = Callable[[Body, asyncio.Event], Awaitable[None]]


async def whole(body: Body, _go: asyncio.Event) -> None:
    await body(b"abcd", False)


async def in_parts(body: Body, go: asyncio.Event) -> None:
    await body(b"ab", True)
    await go.wait()
    await body(b"cd", False)


async def late(body: Body, go: asyncio.Event) -> None:
    await go.wait()
    await body(b"abcd", False)


async def never(_body: Body, _go: asyncio.Event) -> None:
    raise LookupError("between head and body")


async def never_later(_body: Body, go: asyncio.Event) -> None:
    await go.wait()
    raise LookupError("between head and body")


class Connection:
    """A connection to an application that answers with these headers, and so."""

    def __init__(self, answer: Answer, *headers: tuple[bytes, bytes]) -> None:
        self.go = asyncio.Event()

        async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
            async def body(part: bytes, more: bool) -> None:
                await send({"type": "http.response.body", "body": part, "more_body": more})

            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await answer(body, self.go)

        config = uvicorn.Config(app, lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        connections = Connections(Limits(), time.monotonic, Metrics("1"), lambda: state.connections)  # type: ignore[arg-type,return-value]  # all are of our protocol
        self.protocol = HttpProtocol(config, state, {}, all_connections=connections)
        self.transport = Written()
        self.protocol.connection_made(self.transport)

    async def ask(self, method: str = "GET") -> list[bytes]:
        """What has been written once the application has begun its answer, or given it."""
        self.transport.writes.clear()
        self.protocol.data_received(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [part.partition(b"\r\n\r\n")[2] if part.startswith(b"HTTP/") else part for part in self.transport.writes]


async def test_head_and_body_leave_together_one_answer_after_the_other() -> None:
    connection = Connection(whole, LENGTH)
    assert await connection.ask() == [b"abcd"]
    assert await connection.ask() == [b"abcd"]
    assert connection.transport.writes[0].startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")


async def test_the_head_leaves_with_the_first_part_of_a_body_and_each_other_part_at_once() -> None:
    connection = Connection(in_parts, LENGTH)
    assert await connection.ask() == [b"ab"]
    connection.go.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert connection.transport.writes[1:] == [b"cd"]


async def test_the_head_of_an_answer_without_a_body_leaves_at_once() -> None:
    assert await Connection(whole, LENGTH).ask("HEAD") == [b""]
    assert await Connection(late, (b"content-length", b"0")).ask() == [b""]


async def test_the_head_of_a_stream_does_not_wait_for_its_first_part() -> None:
    assert await Connection(late).ask() == [b""]


async def test_what_was_begun_leaves_before_the_connection_ends() -> None:
    connection = Connection(never, LENGTH)
    assert await connection.ask() == [b""]
    assert connection.transport.closed


async def test_a_head_is_not_written_to_a_connection_that_has_gone() -> None:
    connection = Connection(never_later, LENGTH)
    assert await connection.ask() == []
    (task,) = connection.protocol.tasks
    connection.transport.closed = True
    connection.protocol.connection_lost(None)
    connection.go.set()
    await task


async def test_a_further_answer_is_no_sign_that_the_caller_takes_any() -> None:
    connection = Connection(whole, LENGTH)
    for _ in range(2):
        connection.protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not connection.transport.aborted
        connection.protocol.check(len(connection.transport.writes) * 0.1)
    connection.protocol.check(Limits().reply_seconds + 0.1)
    assert connection.transport.aborted
