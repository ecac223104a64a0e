"""The application behind the production server in this event loop, and callers that send raw bytes."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from app.main import create_app
from app.server.refusals import Limits
from app.server.serving import Server
from app.settings import Settings
from tests.support.listening import a_few_turns
from tests.support.platform import FakePlatform
from tests.support.served import serving
from tests.support.service import settings_for

SECONDS = 20
"""No answer takes this long, on a busy machine either."""


@dataclass(frozen=True)
class Reply:
    """One answer, with the bytes of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def slug(self) -> str | None:
        """The problem's, where it is one."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        return str(self.document["type"]).removeprefix("/problems/") if self.body else None


class RawCaller:
    """One connection, and the answers on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *packets: bytes) -> None:
        """Send packets: the server has read each before the next one is sent, where it reads at all."""
        for packet in packets:
            # uvloop's transport says that it is closed in its own way.
            with suppress(ConnectionError, RuntimeError):
                self.writer.write(packet)
                await asyncio.wait_for(self.writer.drain(), SECONDS)
            await a_few_turns()

    async def reply(self, method: str = "GET") -> Reply:
        """The next answer. Raises IncompleteReadError where there is none."""
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
            if method == "HEAD" or status in (100, 204, 304):
                return Reply(status, headers, b"")
            if headers.get("transfer-encoding") == "chunked":
                return Reply(status, headers, await self._chunks())
            if "content-length" in headers:
                return Reply(status, headers, await self.reader.readexactly(int(headers["content-length"])))
            return Reply(status, headers, await self.reader.read())

    async def _chunks(self) -> bytes:
        body = b""
        while size := int(await self.reader.readline(), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return body

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        async with asyncio.timeout(SECONDS):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def is_open(self) -> bool:
        """Whether one more request is answered."""
        try:
            await self.send(b"GET /livez HTTP/1.1\r\nHost: service\r\n\r\n")
            return (await self.reply()).status == 200
        except (asyncio.IncompleteReadError, ConnectionError):
            return False

    def stop_reading(self) -> None:
        """Take nothing of what the server sends."""
        transport: Any = self.writer.transport
        transport.pause_reading()

    def half_close(self) -> None:
        """Send nothing more, but read on."""
        self.writer.write_eof()

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@dataclass(frozen=True)
class Door:
    """The running service."""

    app: FastAPI
    server: Server
    port: int

    @asynccontextmanager
    async def caller(self, receive_buffer: int | None = None) -> AsyncIterator[RawCaller]:
        """A new connection; ``receive_buffer`` in bytes where it shall be small."""
        connection = socket.socket()
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**20)
        caller = RawCaller(reader, writer)
        try:
            yield caller
        finally:
            await caller.close()

    @property
    def connections(self) -> list[Any]:
        """The server's side of the open connections."""
        return list(self.server.server_state.connections)

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value; 0 where it has none."""
        return self.app.state.service.metrics.registry.get_sample_value(f"message_state_{name}", labels) or 0.0


async def until(condition: Any) -> None:
    """Wait until a condition holds. Raises TimeoutError where it never does."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def at_the_door(
    limits: Limits | None = None, platform: FakePlatform | None = None, **overrides: Any
) -> AsyncIterator[Door]:
    """The service on a free loopback port, before the sandbox or a fake platform, with these settings."""
    if platform is None:
        app = create_app(Settings.for_sandbox(**overrides))
    else:
        app = create_app(settings_for(**overrides), transport=platform.transport())
    server = Server(app, grace=1.0, limits=limits)
    async with serving(server) as (_, port):
        yield Door(app, server, port)
