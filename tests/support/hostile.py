"""A hostile platform on a real loopback socket: every reply is raw bytes, so it can be as wrong as bytes can be.

What it does with a request is a *behaviour*, a coroutine that gets the exchange and writes whatever it likes
(``tests/support/misbehaviour.py``). The platform counts what reached it.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpx

from tests.support.platform import PATH, Received

STATES = ("deliver", "read", "not_deliver", "expired")


def state_of(id_: int) -> str:
    """The state that a hostile platform has for an id when it answers at all: neighbours differ."""
    return STATES[id_ % len(STATES)]


def entry(id_: int) -> dict[str, object]:
    """The documented entry for an id."""
    return {"id_sms": id_, "time_change_state": "2021-04-26 15:15:03", "state": state_of(id_)}


@dataclass
class Exchange:
    """One request, its number (from 0) at this platform and on its connection, and the way back."""

    request: Received
    number: int
    on_connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over: bool = field(default=False)

    async def send(self, data: bytes) -> None:
        """Write raw bytes. Raises ConnectionError when the service is gone."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        """A well-formed reply on a connection that stays open; ``retry_after="3"`` becomes a header."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.send(f"HTTP/1.1 {status} Odd\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body)

    async def reply_json(self, document: object, status: int = 200) -> None:
        """A reply that is JSON."""
        await self.reply(json.dumps(document).encode(), status)

    async def refuse(self, text: str) -> None:
        """The documented way to refuse a whole request."""
        await self.reply_json({"error": text}, 400)

    async def wait_for_the_end(self) -> None:
        """Keep silent until the service closes the connection."""
        await self.reader.read()
        self.over = True

    def close(self) -> None:
        """End the connection in order."""
        self.over = True

    def reset(self) -> None:
        """End the connection with a reset: what is on its way is lost."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.over = True


Behaviour = Callable[[Exchange], Awaitable[None]]


async def well(exchange: Exchange) -> None:
    """Knows every id and answers as documented."""
    await exchange.reply_json([entry(id_) for id_ in exchange.request.ids])


class HostilePlatform:
    """Misbehaves on a free loopback port, over TLS where there is a context."""

    def __init__(self, behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.behaviour = behaviour
        self.requests: list[Received] = []
        self.connections = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self._tls = tls
        self._open: set[asyncio.Task[None]] = set()

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return len(self._open)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve; yields the URL of ``state.php``."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        port = listener.getsockname()[1]
        accepting = asyncio.create_task(self._accept(listener))
        try:
            yield f"{'https' if self._tls else 'http'}://127.0.0.1:{port}{PATH}"
        finally:
            tasks = [accepting, *self._open]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            self.connections += 1
            task = asyncio.create_task(self._serve_one(connection))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _serve_one(self, connection: socket.socket) -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        writer: asyncio.StreamWriter | None = None
        try:
            with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
                transport, protocol = await loop.connect_accepted_socket(
                    lambda: asyncio.StreamReaderProtocol(reader), connection, ssl=self._tls
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                await self._converse(reader, writer)
        finally:
            if writer is not None:
                writer.close()
            else:
                connection.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        on_connection = 0
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            headers = httpx.Headers([(name, value) for name, _, value in (line.partition(": ") for line in head[1:-2])])
            body = await reader.readexactly(int(headers["content-length"]))
            request = Received(method, path, headers, body)
            exchange = Exchange(request, len(self.requests), on_connection, reader, writer)
            self.requests.append(request)
            on_connection += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            try:
                await self.behaviour(exchange)
            finally:
                self.in_flight -= 1
            if exchange.over:
                return


def headers_of(status: int = 200, **headers: str) -> bytes:
    """A reply's head alone, for bodies that no ``Content-Length`` describes truthfully."""
    lines: Mapping[str, str] = {name.replace("_", "-"): value for name, value in headers.items()}
    return (f"HTTP/1.1 {status} Odd\r\n" + "".join(f"{n}: {v}\r\n" for n, v in lines.items()) + "\r\n").encode()
