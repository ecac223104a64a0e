"""The service behind a real listening socket, in this event loop, so that a test can look inside while it runs."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from app.lookup.engine import Engine
from app.main import create_app
from app.server.serving import Server
from app.settings import Settings
from tests.support.listening import a_few_turns


class JumpingClock:
    """The system's clock, which can be put forward: minutes of a lockout pass in no time."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def jump(self, seconds: float) -> None:
        """Let time pass for the service."""
        self._ahead += seconds


@dataclass(frozen=True)
class Heard:
    """What a caller got, and after how many seconds."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def document(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Caller:
    """Asks the service, one new connection for each question."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def state(self, id_: int) -> Heard:
        """Ask for one message."""
        return await self._ask(f"GET /messages/{id_}/state HTTP/1.1\r\n", b"")

    async def states(self, ids: Sequence[int]) -> Heard:
        """Ask for many messages."""
        body = json.dumps({"ids": list(ids)}).encode()
        head = f"POST /messages/states HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return await self._ask(head, body)

    async def leave(self, id_: int) -> None:
        """Ask for one message and go away before the answer."""
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"GET /messages/{id_}/state HTTP/1.1\r\nHost: service\r\n\r\n".encode())
        await writer.drain()
        # Long enough for the question to be read, short against any answer that this is used for.
        await asyncio.sleep(0.02)
        writer.close()
        await writer.wait_closed()

    async def _ask(self, head: str, body: bytes) -> Heard:
        begun = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(f"{head}Host: service\r\nConnection: close\r\n\r\n".encode() + body)
            raw = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
        lines, _, content = raw.partition(b"\r\n\r\n")
        status, *fields = lines.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in fields)}
        return Heard(int(status.split(" ")[1]), headers, content, time.monotonic() - begun)


@dataclass(frozen=True)
class Served:
    """The running service: its engine, and a way to ask it."""

    engine: Engine
    caller: Caller


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[tuple[FastAPI, int]]:
    """This server with its lifespan entered, on a free loopback port: its application and the port."""
    app: FastAPI = server.config.app  # type: ignore[assignment]  # what it was given
    server.config.load()
    # Without uvicorn's own loop, which only looks for signals: its end would cost each test 0.2 s.
    server.lifespan = server.config.lifespan_class(server.config)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    # As uvloop does, and asyncio does not here: a body written after its head would wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await server.startup(sockets=[listener])
    try:
        yield app, listener.getsockname()[1]
    finally:
        for each in server.servers:
            each.close()
        listener.close()
        await a_few_turns()
        while server.server_state.connections:
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0.005)
        app.state.service.watcher.stop()
        await asyncio.gather(*server.server_state.tasks)
        await server.stop_sweeping()
        await server.lifespan.shutdown()


@asynccontextmanager
async def served(settings: Settings, clock: JumpingClock) -> AsyncIterator[Served]:
    """The service behind the server of production, on a free loopback port."""
    async with serving(Server(create_app(settings, clock=clock), grace=1.0)) as (app, port):
        yield Served(app.state.service.engine, Caller(port))
