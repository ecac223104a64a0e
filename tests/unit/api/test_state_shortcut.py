"""The state of a message past FastAPI: to the byte what the ordinary way answers, counts and logs."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import generate_latest
from starlette.types import Message, Scope

from app.api.shortcuts import StateShortcut
from app.lookup.record import MessageRecord
from app.main import create_app
from app.settings import Settings
from app.telemetry.logs import ACCESS
from tests.support.scale import scaled

KEY, OTHER_KEY = "k" * 24, "o" * 24
ORIGIN = "https://page.example.com"
IDS = ["82216", "82210", "82213", "82218", "401", "0", "082216", "9007199254740991", "9007199254740992", "%38", "x", ""]
PATHS = [
    *(f"/messages/{id_}/state" for id_ in IDS),
    "/sms/messages/82216/state",
    "/messages/82216/states",
    "/messages/82216/state/",
    "/",
    "/livez",
]
QUERIES = [
    b"",
    b"detail=true",
    b"detail=false",
    b"detail=1",
    b"wait=0",
    b"detail=true&detail=false",
    b"x=1",
    b"DETAIL=true",
]
HEADERS: list[tuple[bytes, st.SearchStrategy[bytes]]] = [
    (b"x-api-key", st.sampled_from([KEY.encode(), OTHER_KEY.encode(), b"wrong", b"", b" " + KEY.encode()])),
    (b"authorization", st.sampled_from([b"Bearer " + KEY.encode(), b"bearer  " + KEY.encode(), b"Basic x", b""])),
    (b"x-request-id", st.sampled_from([b"mine", b"not valid!", b"x" * 64, b"x" * 65, b""])),
    (b"origin", st.sampled_from([ORIGIN.encode(), b"https://other.example.com", b"null", b""])),
    (b"cache-control", st.sampled_from([b"no-cache", b"max-age=0", b"no-store, No-Cache", b"no-cacheable", b""])),
    (b"if-none-match", st.sampled_from([b"*", b'"other"', b"TAG", b"W/TAG", b'"a", TAG', b"", b"TAG-gzip"])),
    (b"accept-encoding", st.sampled_from([b"gzip", b"identity;q=0"])),
    (b"traceparent", st.sampled_from([b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01", b"broken"])),
    (b"access-control-request-method", st.just(b"GET")),
    # A value TAG stands for the entity tag of the answer before.
    (b"x-forwarded-for", st.sampled_from([b"198.51.100.7", b"2001:db8::1, 198.51.100.8", b"nonsense"])),
    (b"expect", st.just(b"100-continue")),
]


class Request:
    """A request as a server hands it on, and how much time has gone since the one before."""

    def __init__(self, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]], later: float) -> None:
        self.method, self.path, self.query, self.headers, self.later = method, path, query, headers, later

    def __repr__(self) -> str:
        return f"{self.method} {self.path}?{self.query.decode()} {self.headers} after {self.later} s"

    def scope(self, tag: bytes) -> Scope:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": [(name, value.replace(b"TAG", tag)) for name, value in self.headers],
            "client": ("192.0.2.1", 40000),
            "server": ("service", 80),
        }


headers = st.lists(st.one_of(*(st.tuples(st.just(name), values) for name, values in HEADERS)), max_size=5)
plain = st.builds(
    Request,
    st.just("GET"),
    st.sampled_from(["/messages/82216/state", "/messages/82213/state"]),
    st.sampled_from([b"", b"detail=true"]),
    headers,
    st.sampled_from([0.0, 0.4, 1.1]),
)
anything = st.builds(
    Request,
    st.sampled_from(["GET", "GET", "HEAD", "OPTIONS", "POST", "DELETE"]),
    st.sampled_from(PATHS),
    st.sampled_from(QUERIES),
    headers,
    st.sampled_from([0.0, 0.4, 1.1, 61.0]),
)


def before_fastapi(app: Any) -> list[Any]:
    """What stands before FastAPI, the outermost first, and FastAPI itself."""
    found = [app._first]
    while hasattr(found[-1], "_app"):
        found.append(found[-1]._app)
    return found


def shortcut_of(app: Any) -> StateShortcut | None:
    return next((each for each in before_fastapi(app) if isinstance(each, StateShortcut)), None)


class Way:
    """The application, with the shortcut or without, on a clock of its own."""

    def __init__(self, *, shortcut: bool, **overrides: Any) -> None:
        self.now = 1000.0
        self.app = create_app(Settings.for_sandbox(**overrides), clock=lambda: self.now)
        *before, fastapi = before_fastapi(self.app)
        assert isinstance(before.pop(), StateShortcut)
        if not shortcut:
            if before:
                before[-1]._app = fastapi
            else:
                self.app._first = fastapi
        self.tag = b'"none"'

    async def ask(self, request: Request) -> tuple[list[Message], list[dict[str, Any]]]:
        """What is sent, and the fields of the lines that are logged."""
        self.now += request.later
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        lines: list[dict[str, Any]] = []
        handler = logging.Handler()
        handler.emit = lambda record: lines.append(vars(record)["fields"])  # type: ignore[method-assign]
        access = logging.getLogger(ACCESS)
        access.addHandler(handler)
        try:
            await self.app(request.scope(self.tag), receive, send)
        finally:
            access.removeHandler(handler)
        for line in lines:
            del line["duration_ms"]
        answer = dict(sent[0]["headers"])
        self.tag = answer.get(b"etag", self.tag)
        return sent, lines

    def counted(self) -> dict[str, float]:
        """Requests by route, method and status, and what lookups and the cache counted."""
        text = generate_latest(self.app.state.service.metrics.registry).decode()
        names = ("http_request_duration_seconds_count", "http_problems", "lookups", "lookup_failures", "cache_hits")
        wanted = tuple(f"message_state_{name}" for name in names)
        lines = [each.rpartition(" ") for each in text.splitlines()]
        return {name: float(value) for name, _, value in lines if name.startswith(wanted)}


@pytest.fixture
def same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.request_context.random", SimpleNamespace(randbytes=bytes))


@pytest.fixture(params=["open", "closed", "narrow", "behind-a-proxy"])
def setting(request: pytest.FixtureRequest) -> dict[str, Any]:
    chosen: dict[str, dict[str, Any]] = {
        "open": {},
        "closed": {"api_keys": f"page:{KEY},other:{OTHER_KEY}", "cors_origins": ORIGIN},
        "narrow": {"rate_limit": 1.0, "cors_origins": ORIGIN},
        "behind-a-proxy": {"trusted_proxies": "192.0.2.0/24", "rate_limit": 2.0, "root_path": "/sms"},
    }
    return chosen[request.param]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.mark.usefixtures("same_ids")
def test_both_ways_answer_count_and_log_the_same(setting: dict[str, Any], runner: asyncio.Runner) -> None:
    logging.getLogger(ACCESS).setLevel(logging.INFO)
    ways = [Way(shortcut=shortcut, **setting) for shortcut in (True, False)]
    stack = AsyncExitStack()

    async def start() -> None:
        for way in ways:
            await stack.enter_async_context(way.app.router.lifespan_context(way.app))

    @settings(max_examples=scaled(50, 30))
    @given(st.lists(plain | anything, min_size=1, max_size=6))
    def compare(requests: list[Request]) -> None:
        for request in requests:
            short, ordinary = (runner.run(way.ask(request)) for way in ways)
            assert short == ordinary
        assert ways[0].counted() == ways[1].counted()

    runner.run(start())
    try:
        compare()
        hits = [line for line in ways[0].counted().items() if 'source="cache"' in line[0]]
        assert hits, "no generated request went the short way"
    finally:
        runner.run(stack.aclose())
        logging.getLogger(ACCESS).setLevel(logging.NOTSET)


@pytest.mark.anyio
async def test_a_state_from_memory_does_not_reach_fastapi(monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        request = Request("GET", "/messages/82216/state", b"", [], 0.0)
        await way.ask(request)
        monkeypatch.setattr(way.app, "router", None)
        sent, _ = await way.ask(request)
        assert sent[0]["status"] == 200


@pytest.mark.anyio
async def test_no_more_answers_are_kept_than_the_limit_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.shortcuts.MAX_CONTENTS", 3)
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        for _ in range(2):
            for id_ in range(82210, 82310, 10):
                await way.ask(Request("GET", f"/messages/{id_}/state", b"", [], 0.0))
        shortcut = shortcut_of(way.app)
        assert shortcut is not None
        assert len(shortcut._kept) == 3


def test_while_traces_are_made_every_request_goes_the_ordinary_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.telemetry.tracing.usable", lambda: True)
    app = create_app(Settings.for_sandbox())
    assert shortcut_of(app) is None


@pytest.mark.anyio
@pytest.mark.usefixtures("same_ids")
async def test_a_defect_of_the_endpoint_is_the_same_problem_on_both_ways(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.lookup.engine.Engine.lookup", lambda *_args, **_options: 1 / 0)
    answers = []
    for shortcut in (True, False):
        way = Way(shortcut=shortcut)
        async with way.app.router.lifespan_context(way.app):
            answers.append(await way.ask(Request("GET", "/messages/82216/state", b"", [], 0.0)))
    assert answers[0] == answers[1]
    assert answers[0][0][0]["status"] == 500
    told = [each.message for each in caplog.records if each.exc_info]
    assert told == ["unhandled error while handling a request"] * 2


@pytest.mark.anyio
async def test_a_defect_of_the_shortcut_is_logged_and_the_ordinary_way_answers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        monkeypatch.setattr(StateShortcut, "_keep", lambda *_: 1 / 0)
        request = Request("GET", "/messages/82216/state", b"", [], 0.0)
        answers = [await way.ask(request) for _ in range(2)]
    assert [sent[0]["status"] for sent, _ in answers] == [200, 200]
    assert [each.message for each in caplog.records if each.exc_info] == ["unhandled error while handling a request"]


@pytest.mark.anyio
async def test_a_state_that_has_changed_is_not_answered_as_it_was() -> None:
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        request = Request("GET", "/messages/82216/state", b"", [], 0.0)
        for _ in range(2):
            await way.ask(request)
        await way.app.state.service.engine.report([MessageRecord(82216, "read")])
        (start, body), _ = await way.ask(request)
    assert dict(start["headers"])[b"cache-status"] == b"message-state; hit"
    assert b'"state":"read"' in body["body"]


@pytest.mark.anyio
async def test_while_the_service_stops_a_state_from_memory_ends_its_connection_too() -> None:
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        request = Request("GET", "/messages/82216/state", b"", [], 0.0)
        await way.ask(request)
        way.app.state.service.lifecycle.stop()
        (start, _), _ = await way.ask(request)
    assert dict(start["headers"])[b"cache-status"] == b"message-state; hit"
    assert (b"connection", b"close") in start["headers"]


@pytest.mark.anyio
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("shortcut", [False, True])
async def test_a_request_that_is_cancelled_has_its_line(
    known: bool, shortcut: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, ACCESS)
    way = Way(shortcut=shortcut)

    async def never() -> Message:
        raise AssertionError("nobody reads the body")

    async def gone(_: Message) -> None:
        raise asyncio.CancelledError

    async with way.app.router.lifespan_context(way.app):
        request = Request("GET", "/messages/82216/state", b"", [], 0.0)
        if known:
            await way.ask(request)
        caplog.clear()
        with pytest.raises(asyncio.CancelledError):
            await way.app(request.scope(b""), never, gone)
    (line,) = [record.__dict__["fields"] for record in caplog.records if record.name == ACCESS]
    assert (line["status"], line["source"]) == (200, "cache" if known else "upstream")


@pytest.mark.anyio
async def test_what_is_kept_for_a_path_below_a_prefix_is_not_the_answer_without_it() -> None:
    way = Way(shortcut=True)
    async with way.app.router.lifespan_context(way.app):
        path, sent = "/a/messages/82216/state", []

        async def ask(root_path: str) -> int:
            async def receive() -> Message:
                return {"type": "http.request", "body": b"", "more_body": False}

            async def send(message: Message) -> None:
                sent.append(message)

            sent.clear()
            scope = {**Request("GET", path, b"", [], 0.0).scope(b""), "root_path": root_path}
            await way.app(scope, receive, send)
            return int(sent[0]["status"])

        assert [await ask("/a"), await ask("/a"), await ask("")] == [200, 200, 404]
