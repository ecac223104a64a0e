"""HTTP/1.1 over uvicorn's protocol for httptools, with what RFC 9110 and 9112 ask for and uvicorn leaves out.

httptools parses three times as fast as h11; what it and uvicorn lack is added here:

- An offered upgrade is ignored and the body belongs to its request. httptools stops at the end of such a head and would
  take the body for the next request, so a new parser goes on, with a head that has the framing fields alone.
- One message is parsed at a time: what comes behind it waits as bytes, of which at most one more read is taken. So an
  answer, a refusal included, is never given before its turn, and whoever leaves has one request at most.
- Heads, trailers and chunk extensions are bounded; trailers are ignored. A read is cut at blank lines, where messages
  end, so that the parser never sees the next one.
- Time is a timestamp for each state of the connection; ``Connections.sweep`` calls ``check``.
- After an answer that was given before its request was read, input is read on for a moment (``Limits.linger_seconds``).

What this relies on of uvicorn, and ``tests/door/test_uvicorn.py`` holds it to: ``HttpToolsProtocol`` has one cycle for
each request, made in ``on_headers_complete`` and started by ``_start_asgi_task``; a cycle writes, closes and asks
``is_closing`` of its ``transport``, pauses and resumes reading by its ``flow``, says ``Connection: close`` where its
``keep_alive`` is false, sets ``expected_content_length`` before it writes a head in one call, and calls ``on_response``
once, after the last byte and after ``close``; nothing but ``connection_lost``, which ends the one cycle in
``self.cycle``, and ``shutdown`` is called from elsewhere. Of httptools: an upgrade is told by ``HttpParserUpgrade`` at
the end of the head, after ``on_message_complete``.
"""

import asyncio
import contextlib
import urllib.parse
from typing import Any, NoReturn, cast

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.request_body import MAX_BODY_BYTES
from app.server import refusals
from app.server.connections import PHASES, Connections, bytes_waiting
from app.server.exchange import Exchange, Http10Exchange
from app.server.framing import BLANK_LINE, CHUNK_BYTES, LENGTHS, SPACE, Framing
from app.server.lean import NO_PIPELINE, Wakeup
from app.server.refusals import Reason
from app.telemetry.metrics import Closed, Phase

AHEAD_BYTES = 64 * 1024
"""Where the read that ends a request brings at most this much more, one further read is taken, so that a disconnect is
noticed; then reading pauses."""

# States of a connection, in their order.
IDLE, HEAD, BODY, ANSWERING, REFUSED, LINGERING = range(6)
# Why reading is paused.
_AHEAD, _UNREAD_BODY, _NO_ROOM = 1, 2, 4

_REFUSAL_HEADERS = frozenset({b"origin", b"x-request-id", b"traceparent"})
"""What a refusal knows of a request whose head may be incomplete: the rest could be anything."""


class _Refused(Exception):
    """Ends the parsing: the request is refused for a reason that the protocol has kept."""


class _BodyOnly:
    """What a parser tells that is fed a head that was read before."""

    def __init__(self, protocol: "HttpProtocol") -> None:
        self._head_is_there = False
        self._protocol = protocol
        self.on_body = protocol.on_body
        self.on_chunk_header = protocol.on_chunk_header
        self.on_message_complete = protocol.on_message_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of a trailer, behind those of the head."""
        if self._head_is_there:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """The fields behind it are a trailer's."""
        self._head_is_there = True


class HttpProtocol(HttpToolsProtocol):
    """One connection. Also its requests' way out: the ``transport`` of a cycle and its flow is the protocol itself."""

    # Not in the instance's dictionary: with so many more names Python would no longer share its keys among connections,
    # which costs 2 KB for each.
    __slots__ = (
        "_ahead",
        "_ahead_at",
        "_all",
        "_discarded",
        "_framing",
        "_has_begun",
        "_has_body",
        "_has_other_parser",
        "_head",
        "_is_upgrade",
        "_limits",
        "_message_bytes",
        "_paused",
        "_reason",
        "_state",
        "_taken",
        "_taken_at",
        "_writable",
        "_written",
        "since",
        "unread",
        "write_paused",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        all_connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.pipeline = NO_PIPELINE
        self.unread = 0
        self._all = all_connections
        self._limits = all_connections.limits
        self._state = IDLE
        self.since = all_connections.clock()
        self._paused = 0
        # Input behind the request that is being answered.
        self._ahead = b""
        self._ahead_at = 0
        # The message that is being read.
        self._message_bytes = 0
        self._has_begun = False
        self._has_body = False
        self._framing = Framing(self._limits)
        self._is_upgrade = False
        self._has_other_parser = False
        self._reason = refusals.MALFORMED
        self._discarded = 0
        # The replies.
        self.write_paused = False
        self._writable = Wakeup()
        self._writable.set()
        self._written = 0
        # None: no answer has begun. The head of one while it waits for its body; empty once anything has left.
        self._head: bytes | None = None
        self._taken = -1
        self._taken_at = 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own narrowing
        """Register the connection, and close it where there are too many."""
        super().connection_made(transport)
        self.flow = cast(FlowControl, self)
        if not self._all.made(self, self.connections):  # type: ignore[arg-type]  # all are of this class
            return
        if self._all.full:
            if self._all.is_overfull:
                self.end("input-bytes")
            else:
                # Not now: uvloop begins to read when this returns.
                self.loop.call_soon(self.pause_for_room)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._state = LINGERING
        if self.unread:
            self._forget_input()
        super().connection_lost(exc)
        # They refer to this connection: all that it holds, some 10 KB, would wait for a collection of the oldest
        # garbage, which the server has set to be rare.
        self.parser = self.flow = self.cycle = None  # type: ignore[assignment]  # nothing is read or answered any more

    def eof_received(self) -> None:
        """The caller sends nothing more: it has left, even if it could still read (as in nginx, HAProxy and Node)."""
        if self._state >= LINGERING:
            return
        self._state = LINGERING
        self._forget_input()
        self._let_go()

    def data_received(self, data: bytes) -> None:
        """Handle received bytes."""
        state = self._state
        end = len(data) - len(BLANK_LINE)
        if (
            state == IDLE
            and not self._framing.head_bytes
            and end > 0
            and data[0] > SPACE
            and data.find(BLANK_LINE) == end
            and len(data) <= self._limits.head_bytes
        ):
            # Most reads are a whole head and nothing else: all of _read that there is to do.
            self._state = HEAD
            if self._feed(data, 0, len(data)) and self._state < ANSWERING:
                self.since = self._all.clock()
        elif state < ANSWERING:
            self._read(data, 0)
        elif state == ANSWERING:
            self._keep(data)
        else:
            self._discard(len(data))
        if self._all.full:
            self.pause_for_room()

    # Reading: one message at a time.

    def _read(self, data: bytes, at: int) -> None:
        before = self._state
        size = len(data)
        while at < size and self._state < ANSWERING:
            at = self._read_head(data, at) if self._state < BODY else self._read_body(data, at)
        state = self._state
        if at < size and state == ANSWERING:
            self.since = self._all.clock()
            self._ahead, self._ahead_at = data, at
            self._recount()
            if size - at > AHEAD_BYTES:
                self.pause(_AHEAD)
        elif self._ahead:
            self._ahead = b""
            self._recount()
        if state < ANSWERING and state != before:
            self.since = self._all.clock()

    def _read_head(self, data: bytes, at: int) -> int:
        end = self._framing.head_end(data, at)
        if end == at:
            self._refuse(refusals.HEAD_BYTES)
            return at
        self._state = HEAD
        if self._feed(data, at, end) and self._state == HEAD:
            if self._has_begun:
                self._count(end - at)
            else:
                self._state = IDLE  # empty lines before a request: some send one behind a body
        return end

    def _read_body(self, data: bytes, at: int) -> int:
        framing = self._framing
        end = framing.body_end(data, at)
        if self._feed(data, at, end) and self._state == BODY and framing.has_many_extras:
            self._refuse(refusals.EXTRAS)
        return end

    def _feed(self, data: bytes, at: int, end: int) -> bool:
        """Parse a piece. Returns whether that went well; else the request is refused."""
        try:
            self.parser.feed_data(data if end - at == len(data) else data[at:end])
        except httptools.HttpParserUpgrade:
            self._ignore_upgrade()
        except httptools.HttpParserError as error:
            self._refuse(self._reason if isinstance(error.__context__, _Refused) else refusals.MALFORMED)
            return False
        return True

    def _ignore_upgrade(self) -> None:
        """Go on with a parser that knows nothing of the offer. RFC 9110, section 7.8: a server may ignore it."""
        self._is_upgrade = False
        self._has_other_parser = True
        self.parser = httptools.HttpRequestParser(_BodyOnly(self))
        lengths = [name + b": " + value + b"\r\n" for name, value in self.headers if name in LENGTHS]
        self.parser.feed_data(b"POST / HTTP/1.1\r\n" + b"".join(lengths) + b"\r\n")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """The first byte of a request line."""
        super().on_message_begin()
        self._has_begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field: of the head, or of a trailer, which counts for nothing (RFC 9110, section 6.5.1)."""
        if self._state != HEAD:
            self._framing.trailer_fields += 1
            if self._framing.has_many_extras:
                self._reject(refusals.EXTRAS)
            return
        if len(self.headers) >= self._limits.head_fields:
            self._reject(refusals.HEAD_FIELDS)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there: check it, and let the application begin."""
        parser = self.parser
        scope = self.scope
        version = parser.get_http_version()
        scope["method"] = method = parser.get_method().decode("ascii")
        framing = self._framing
        mistake = framing.begin(version, self.headers)
        if mistake is not None:
            self._reject(mistake)
        scope["path"], scope["raw_path"], scope["query_string"] = self._target(method)
        if version != "1.1":
            scope["http_version"] = version
        self._is_upgrade = parser.should_upgrade()
        if self._message_bytes:
            self._message_bytes = 0
            self._recount()
        self._state = BODY
        modern = version == "1.1"
        self._has_body = framing.has_body
        kind = (Exchange if self._has_body else RequestResponseCycle) if modern else Http10Exchange
        self._begin(
            kind,
            expect=framing.expects_100 and modern,
            keep_alive=modern and parser.should_keep_alive(),
        )

    def _begin(self, kind: type[RequestResponseCycle], *, expect: bool, keep_alive: bool) -> None:
        self.cycle = kind(
            scope=self.scope,
            transport=cast(asyncio.Transport, self),
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=Wakeup(),
            expect_100_continue=expect,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        self._start_asgi_task(self.cycle, self.app)

    def _target(self, method: str) -> tuple[str, bytes, bytes]:
        """Path, raw path and query of the request target. Rejects one that is not valid.

        It may name a host as well (RFC 9112, section 3.2); a tunnel's has no path.
        """
        try:
            parsed = httptools.parse_url(self.url)
            raw_path, query = parsed.path or b"/", parsed.query or b""
        except httptools.HttpParserInvalidURLError:
            if method != "CONNECT":
                self._reject(refusals.MALFORMED)
            raw_path, query = b"/", b""
        path = raw_path.decode("ascii")
        if "%" in path:
            path = urllib.parse.unquote(path)
        return self.root_path + path, self.root_path.encode("ascii") + raw_path, query

    def _reject(self, reason: Reason) -> NoReturn:
        self._reason = reason
        raise _Refused

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        cycle = self.cycle
        self._framing.plain_bytes += len(body)
        # Of a longer body nothing is kept: the application refuses it, or throws it away.
        if self._message_bytes <= MAX_BODY_BYTES:
            self._count(len(body))
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._framing.plain_bytes += CHUNK_BYTES

    def on_message_complete(self) -> None:
        """The request is there."""
        if self._is_upgrade:
            return
        if self._has_body and self._framing.has_many_extras:
            self._reject(refusals.EXTRAS)
        self._state = ANSWERING
        self.cycle.more_body = False
        self.cycle.message_event.set()

    # Input that waits.

    def _keep(self, data: bytes) -> None:
        """Keep one read more until the request before it is answered; then read nothing until there is an answer."""
        if not self._ahead:
            self.since = self._all.clock()
        self._ahead = self._ahead[self._ahead_at :] + data
        self._ahead_at = 0
        self._recount()
        self.pause(_AHEAD)

    def _count(self, size: int) -> None:
        self._message_bytes += size
        self._recount()

    def _recount(self) -> None:
        unread = self._message_bytes + len(self._ahead)
        if unread != self.unread:
            more = unread - self.unread
            self.unread = unread
            self._all.add_unread(more)

    def _forget_input(self) -> None:
        self._ahead = b""
        self._message_bytes = 0
        self._recount()

    def pause_reading(self) -> None:
        """The cycle has enough of its body."""
        self.pause(_UNREAD_BODY)

    def resume_reading(self) -> None:
        """The application asks for more."""
        self.resume(_UNREAD_BODY)

    def pause(self, why: int) -> None:
        """Read nothing for a reason."""
        self.transport.pause_reading()
        self._paused |= why

    def resume(self, why: int) -> None:
        """A reason is gone; read where there is no other."""
        if self._paused & why:
            self._paused &= ~why
            if not self._paused:
                self.transport.resume_reading()

    def pause_for_room(self) -> None:
        """Read nothing until ``resume_with_room``; what is thrown away needs no room."""
        if self._state < REFUSED:
            self.pause(_NO_ROOM)

    def resume_with_room(self) -> None:
        """Read again; time begins anew for what could not arrive."""
        if self._paused & _NO_ROOM:
            if self._state in (HEAD, BODY):
                self.since = self._all.clock()
            self.resume(_NO_ROOM)

    def waiting_bytes(self) -> int:
        """Input that the operating system holds for this connection."""
        return bytes_waiting(self.transport.get_extra_info("socket"))

    def stuck_since(self) -> float | None:
        """Since when a request has been incomplete, or has held up those behind it; None where neither is so."""
        return self.since if self._state in (HEAD, BODY) or self._ahead else None

    def drop_input(self) -> None:
        """Refuse what is incomplete; forget what waits behind a request, whose answer is the last one."""
        if self._state == ANSWERING:
            self._all.closed("input-bytes")
            self._ahead = b""
            self._recount()
            self.cycle.keep_alive = False
        else:
            self._refuse(refusals.NO_ROOM)

    # Answers.

    def pause_writing(self) -> None:
        """The caller is slow: what has been written waits."""
        self.write_paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room for more of an answer, or nobody who wants it."""
        self.write_paused = False
        self._writable.set()

    async def drain(self) -> None:
        """Wait until there is room for more of an answer."""
        await self._writable.wait()

    def write(self, data: bytes) -> None:
        """A part of an answer. The head of one whose length is told waits for its body: one packet, half the calls."""
        # This is the cycle that writes: one that was replaced takes itself for disconnected, and writes nothing.
        if self._head is None and self.cycle.expected_content_length:
            self._head = data
            return
        data = self._head + data if self._head else data
        self._head = b""
        self._written += len(data)
        self.transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is at its end."""
        return self.transport.is_closing()

    def close(self) -> None:
        """The last answer was given: end the connection, after a moment where there is input that nobody wants."""
        if self._head and not self.transport.is_closing():
            self.write(b"")
        if self._state in (BODY, REFUSED) or self._paused or self._ahead:
            self._linger()
        else:
            self.transport.close()

    def on_response_complete(self) -> None:
        """An answer was given: it is the next request's turn."""
        if self._head:
            self.write(b"")  # HEAD has no body
        self._head = None
        self.server_state.total_requests += 1
        if self._state != ANSWERING or self.transport.is_closing():
            return
        self._state = IDLE
        self.since = self._all.clock()
        self._has_begun = False
        self._message_bytes = 0
        if self._has_other_parser:
            self.parser = httptools.HttpRequestParser(self)
            self._has_other_parser = False
        if self._ahead:
            self._read(self._ahead, self._ahead_at)
        if self.unread:
            self._recount()
        if self._paused:
            self.flow.resume_reading()
            if len(self._ahead) - self._ahead_at <= AHEAD_BYTES:
                self.resume(_AHEAD)

    def _refuse(self, reason: Reason) -> None:
        """Answer in place of the application, and end the connection."""
        state, cycle = self._state, self.cycle
        self._state = REFUSED
        self._forget_input()
        self.resume(_AHEAD | _UNREAD_BODY | _NO_ROOM)
        if reason.limit:
            self._all.closed(reason.limit)
        if state == ANSWERING or (state == BODY and cycle.response_started):
            cycle.keep_alive = False
            return
        before = cast(dict[str, Any], self.scope)
        refused = self._refused_scope()  # is the scope from now on
        if state == BODY:
            # The application is told that the caller has left, and this answer takes the place of its own.
            cycle.disconnected = True
            cycle.message_event.set()
            before["state"]["replaced"] = True
            if "route" in before:
                refused["route"] = before["route"]
            if "request_id" in before["state"]:
                refused["headers"] += [(b"x-request-id", before["state"]["request_id"].encode())]
        refused["state"]["refusal"] = reason.refusal(self._limits)
        self.scope = refused
        self._begin(RequestResponseCycle, expect=False, keep_alive=False)
        self.cycle.more_body = False

    def _refused_scope(self) -> Any:
        """What is known of the request that is refused, in a new scope: uvicorn's of a message that begins."""
        url, headers = (self.url, self.headers) if self._has_begun else (b"", [])
        super().on_message_begin()
        scope = cast(dict[str, Any], self.scope)
        scope |= {"method": "-", "path": self.root_path + "/", "raw_path": b"/", "query_string": b""}
        self.url = url
        if url:
            scope["method"] = self.parser.get_method().decode("ascii")
        if headers:
            # Then the request line was complete.
            scope["headers"] = [(name, value) for name, value in headers if name in _REFUSAL_HEADERS]
            with contextlib.suppress(_Refused):
                scope["path"], scope["raw_path"], _ = self._target(scope["method"])
        return scope

    def _linger(self) -> None:
        """Read on for a moment. A connection that is closed with unread input is reset, and with it goes the answer."""
        self._state = LINGERING
        self._forget_input()
        if self.transport.is_closing():
            return
        self._paused = 0
        self.transport.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(self._limits.linger_seconds, self._end_lingering)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._limits.linger_bytes:
            self._end_lingering()

    def _end_lingering(self) -> None:
        if not self.transport.is_closing():
            self._all.closed("linger")
            self.transport.close()

    # Time.

    def check(self, now: float) -> None:
        """End what takes too long."""
        if self._is_unread_by_the_caller(now):
            self.end("reply")
            return
        if self.transport.is_closing():
            return
        age = now - self.since
        limits = self._limits
        state = self._state
        if state == IDLE:
            if age >= limits.idle_seconds and self._taken < 0:
                self.end("idle")
        elif self._paused & _NO_ROOM:
            return
        elif state == HEAD:
            if age >= limits.head_seconds:
                self._refuse(refusals.HEAD_TIME)
        elif state == BODY and age >= limits.body_seconds and not self.cycle.response_started:
            self._refuse(refusals.BODY_TIME)

    def _is_unread_by_the_caller(self, now: float) -> bool:
        """Whether nothing of a reply was taken for too long. Notes what was taken."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._taken = -1
            return False
        taken = self._written - left
        if taken != self._taken:
            self._taken, self._taken_at = taken, now
            if self._state == IDLE:
                self.since = now
        return now - self._taken_at >= self._limits.reply_seconds

    def end(self, limit: Closed) -> None:
        """Abort the connection without a response."""
        self._state = LINGERING
        self._all.closed(limit)
        self.transport.abort()

    # The end.

    @property
    def phase(self) -> Phase:
        """What the connection is doing."""
        return PHASES[self._state]

    @property
    def is_busy(self) -> bool:
        """Whether a request is there whose answer is not."""
        state = self._state
        return state in (ANSWERING, REFUSED) or (state == BODY and self.cycle.response_started)

    def shutdown(self) -> None:
        """The server stops: end what is silent, refuse what is incomplete, let the rest have its last answer."""
        state = self._state
        if state == IDLE:
            self.transport.close()
        elif state == HEAD or (state == BODY and not self.cycle.response_started):
            self._refuse(refusals.STOPPING)
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    def _let_go(self) -> None:
        """Tell the request that its caller has left."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.flow.resume_writing()
