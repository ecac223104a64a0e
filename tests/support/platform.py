"""A fake platform: checks what it is sent, answers what it is told, and remembers every request.

It stands behind httpx's transport interface (``transport()``) or on a real loopback socket (``serve()``), so that
odd replies meet the real HTTP client as well.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import httpx
import respx

from tests.support.listening import listening

TOKEN = "planted-token-7f3a"
LOGIN, PASSWORD = "planted-login-5c1d", 'planted-"pass\\word'
SECRETS = (TOKEN, LOGIN, PASSWORD)
PATH = "/json/state.php"
URL = f"http://platform.test{PATH}"
CONTENT_TYPE = "text/json; charset=utf-8"

DOCUMENTED_REPLY = (
    '[{"id_sms": 82216, "time_change_state": "2021-04-26 15:15:03", "state": "deliver", "num_parts": 1, '
    '"price": 10.6000000}]'
)


@dataclass(frozen=True)
class Reply:
    """One reply. ``raw`` is written to the socket as it is, in place of a whole HTTP reply; ``hang`` never answers."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang: bool = False


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    path: str
    headers: httpx.Headers
    body: bytes

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The array that was sent."""
        parsed: list[dict[str, Any]] = json.loads(self.body)
        return parsed

    @property
    def ids(self) -> list[int]:
        """The ids asked for, in the order sent."""
        return [entry["id_sms"] for entry in self.entries]


Scripted = Reply | Exception | Callable[[Received], Reply]


def reply(body: bytes | str | object, status: int = 200, **headers: str) -> Reply:
    """A reply from bytes, text, or a value that becomes JSON; ``retry_after="3"`` becomes a header."""
    if not isinstance(body, bytes | str):
        body = json.dumps(body, ensure_ascii=False)
    content = body.encode() if isinstance(body, str) else body
    return Reply(content, status, {name.replace("_", "-"): value for name, value in headers.items()})


def refused(text: str, status: int = 400) -> Reply:
    """The platform's way to refuse a whole request."""
    return reply({"error": text}, status)


class _Unread(httpx.AsyncByteStream):
    """A body that respx does not read beforehand: a response that was read cannot be streamed any more."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class FakePlatform:
    """``state.php`` as documented.

    ``entries`` holds what is known of each id (keys of the documented reply beside ``id_sms``); other ids are left
    out of the reply. ``script`` is used up one reply a request; when it is empty, ``always`` answers, and without
    that the entries do. What breaks the documented format gets the documented 400 and stands in ``violations``.
    """

    def __init__(self, credentials: Mapping[str, str] | None = None) -> None:
        self.credentials = dict(credentials or {"token": TOKEN})
        self.also_accepted: dict[str, str] | None = None
        self.entries: dict[int, dict[str, Any]] = {}
        self.script: deque[Scripted] = deque()
        self.always: Scripted | None = None
        self.requests: list[Received] = []
        self.violations: list[str] = []
        self.before: Callable[[Received], Awaitable[None]] | None = None
        self.in_flight = 0
        self.most_in_flight = 0

    def knows(self, *ids: int, state: str = "deliver", **more: Any) -> None:
        """Give ids a state, the documented time, one part and the documented price."""
        for id_ in ids:
            when = "" if state == "send" else "2021-04-26 15:15:03"
            self.entries[id_] = {"time_change_state": when, "state": state, "num_parts": 1, "price": 10.6, **more}

    async def answer(self, request: Received) -> Reply:
        """Record a request and answer it."""
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.before is not None:
                await self.before(request)
            scripted = self.script.popleft() if self.script else self.always
            complaint = self._complaint(request)
            if complaint is not None:
                self.violations.append(complaint[1])
                return refused(complaint[0])
            if isinstance(scripted, Exception):
                # A new one: a test's own would keep, by its traceback, whatever asked, for as long as there are tests.
                raise copy(scripted)
            if isinstance(scripted, Reply):
                return scripted
            return scripted(request) if scripted is not None else self._known(request)
        finally:
            self.in_flight -= 1

    def _known(self, request: Received) -> Reply:
        known = []
        for entry in request.entries:
            about = self.entries.get(entry["id_sms"])
            if about is not None:
                shown = (
                    about if entry["detail"] else {k: v for k, v in about.items() if k not in ("num_parts", "price")}
                )
                known.append({"id_sms": entry["id_sms"], **shown})
        return reply(known)

    def _complaint(self, request: Received) -> tuple[str, str] | None:
        """The documented error and what exactly is wrong."""
        bad_format = "Incorrect JSON document format"
        if request.method != "POST" or not request.body:
            return "POST data is missing", f"{request.method} with {len(request.body)} bytes"
        if request.headers.get_list("content-type") != [CONTENT_TYPE]:
            return bad_format, f"content type {request.headers.get('content-type')!r}"
        try:
            entries = json.loads(request.body)
        except ValueError:
            return bad_format, "not JSON"
        if not isinstance(entries, list) or not entries:
            return bad_format, "not an array with elements"
        for entry in entries:
            if type(entry.get("id_sms")) is not int or entry.get("detail") not in (0, 1):
                return bad_format, f"keys or types: {sorted(entry)}"
            if isinstance(entry["detail"], bool):
                return bad_format, "detail is not an integer"
            given = {name: value for name, value in entry.items() if name not in ("id_sms", "detail")}
            if given not in (self.credentials, self.also_accepted):
                return "Incorrect login or password", f"keys: {sorted(entry)}"
        return None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer httpx's request, for a mock transport."""
        seen = Received(request.method, request.url.path, request.headers, request.content)
        answered = await self.answer(seen)
        if answered.hang:
            await asyncio.Event().wait()
        return httpx.Response(answered.status, headers=dict(answered.headers), stream=_Unread(answered.body))

    def transport(self) -> httpx.MockTransport:
        """A transport that leads to this platform; any other address fails the test."""
        router = respx.Router(assert_all_called=False)
        router.route(url=URL).mock(side_effect=self.handle)
        return httpx.MockTransport(router.async_handler)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free loopback port; yields the URL of ``state.php``."""
        async with listening(self._converse) as port:
            yield f"http://127.0.0.1:{port}{PATH}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            named = (line.partition(": ") for line in head[1:] if line)
            headers = httpx.Headers([(name, value) for name, _, value in named])
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            answered = await self.answer(Received(method, path, headers, body))
            if answered.hang:
                await asyncio.Event().wait()
            if answered.raw is not None:
                writer.write(answered.raw)
                await writer.drain()
                return
            sent = {"Content-Type": "text/html; charset=UTF-8", "Content-Length": str(len(answered.body))}
            lines = [f"{name}: {value}" for name, value in (sent | dict(answered.headers)).items()]
            writer.write("\r\n".join([f"HTTP/1.1 {answered.status} Odd", *lines, "", ""]).encode() + answered.body)
            await writer.drain()
