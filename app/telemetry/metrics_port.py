"""The port on which the metrics are scraped: one thread, however many connect.

prometheus_client's own server has a thread for each connection, and no limit for either. Here one thread has an event
loop of its own; each connection brings one request, and has a few seconds for it.
"""

import asyncio
import contextlib
import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

MAX_CONNECTIONS = 16
"""Open at a time. A new one takes the place of the one that has kept the server waiting for longest."""
REQUEST_SECONDS = 5.0
"""For the head of a request to arrive, and again for the reply to be taken."""
MAX_HEAD_BYTES = 16 * 1024
BACKLOG = 128
PIECE_SAMPLES = 100
"""Samples that are written in one piece, which takes about a millisecond."""
PAUSE_SECONDS = 0.0005
"""Between pieces, for the service's loop. Python takes the interpreter from a thread only after 5 ms, each time that
the loop lets go of it for a moment, so that a whole scrape may come into one iteration of the event loop."""

_EOF = b"# EOF\n"

log = logging.getLogger(__name__)


def serve_metrics(registry: CollectorRegistry, listener: socket.socket) -> None:
    """Serve the registry on a bound socket, in a thread of its own. Raises OSError when nobody can listen there."""
    listener.listen(BACKLOG)
    threading.Thread(target=_run, args=(MetricsPort(registry), listener), name="metrics port", daemon=True).start()


def _run(port: "MetricsPort", listener: socket.socket) -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(port.serve(listener))


class MetricsPort:
    """Answers scrapes of one registry, in whatever event loop ``serve`` runs in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        # In the order in which they came; whether their request is there.
        self._open: dict[asyncio.StreamWriter, bool] = {}
        self._one_at_a_time = asyncio.Lock()

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        asyncio.get_running_loop().set_exception_handler(_tell)
        # What asyncio calls backlog is also how often it tries to accept in one iteration of the event loop, even where
        # there is no descriptor: a hundred tries and warnings a second, and more with each second.
        server = await asyncio.start_server(self._accept, sock=listener, limit=MAX_HEAD_BYTES, backlog=1)
        listener.listen(BACKLOG)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_CONNECTIONS:
            silent = (each for each, has_asked in self._open.items() if not has_asked)
            leaves = next(silent, next(iter(self._open)))
            del self._open[leaves]
            leaves.transport.abort()
        self._open[writer] = False
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
                await self._converse(reader, writer)
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            head = b""
        self._open[writer] = True
        reply = await self._reply(head)
        async with asyncio.timeout(REQUEST_SECONDS):
            writer.write(reply)
            writer.write_eof()
            # Until the caller has everything: a connection that is closed with input left is reset, reply and all.
            while await reader.read(MAX_HEAD_BYTES):
                pass

    async def _reply(self, head: bytes) -> bytes:
        """The whole reply to a request with this head."""
        line, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = line.partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            return _answer("400 Bad Request", [], b"")
        if method not in {"GET", "HEAD"}:
            return _answer("405 Method Not Allowed", ["Allow: GET, HEAD"], b"")
        fields = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
        encoder, content_type = choose_encoder(fields.get("accept", ""))
        names = parse_qs(target.partition("?")[2]).get("name[]")
        registry = self._registry.restricted_registry(names) if names else self._registry
        body = bytearray()
        async with self._one_at_a_time:
            paused = time.perf_counter()
            for piece in _pieces(registry):
                body += encoder(piece).removesuffix(_EOF) if not piece.goes_on else _without_head(encoder(piece))
                if time.perf_counter() - paused > PAUSE_SECONDS:
                    await asyncio.sleep(PAUSE_SECONDS)
                    paused = time.perf_counter()
        if encoder(_Piece([])) == _EOF:
            body += _EOF
        headers = [f"Content-Type: {content_type}"]
        sent = bytes(body)
        if "gzip" in fields.get("accept-encoding", ""):
            sent = gzip.compress(sent, 1)
            headers.append("Content-Encoding: gzip")
        return _answer("200 OK", headers, sent, only_head=method == "HEAD")


class _Piece(Collector):
    """Some metrics, as what an encoder asks for them."""

    def __init__(self, metrics: list[Metric], *, goes_on: bool = False) -> None:
        self._metrics = metrics
        self.goes_on = goes_on
        """Whether its samples follow others of the same metric."""

    def collect(self) -> Iterable[Metric]:
        """The metrics."""
        return self._metrics


def _pieces(registry: Collector) -> Iterator[_Piece]:
    for metric in registry.collect():
        for at in range(0, max(len(metric.samples), 1), PIECE_SAMPLES):
            piece = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            piece.samples.extend(metric.samples[at : at + PIECE_SAMPLES])
            yield _Piece([piece], goes_on=at > 0)


def _without_head(text: bytes) -> bytes:
    return b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(b"#"))


def _answer(status: str, headers: list[str], body: bytes, *, only_head: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + (b"" if only_head else body)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """What the loop cannot do anything about: above all a connection for which there is no descriptor, which asyncio
    tries again after a second."""
    error = context.get("exception")
    log.warning("the metrics port cannot accept a connection", extra={"fields": {"why": type(error).__name__}})
