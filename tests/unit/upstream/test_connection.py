"""Connections to the platform: how much head they take, when they are used again, and when they are renewed."""

import asyncio
import json
import socket
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from app.lookup.failures import CredentialsRejected, InvalidReply, LookupFailure, ServerError, UnexpectedStatus
from app.lookup.record import Answer
from app.upstream.client import UpstreamClient
from app.upstream.connection import MAX_HEAD_BYTES, PlatformConnection
from app.upstream.credentials import Account, Credentials
from app.upstream.transport import network
from tests.support import misbehaviour as does
from tests.support.asking import ask
from tests.support.hostile import Behaviour, Exchange, HostilePlatform, well
from tests.support.listening import Converse, listening
from tests.support.platform import PATH, TOKEN
from tests.support.served import JumpingClock
from tests.unit.upstream.wire_cases import MOSCOW

pytestmark = pytest.mark.anyio

ASKED = {5: False}


def client_of(url: str, clock: Callable[[], float] = time.monotonic, attempt: float = 10.0) -> UpstreamClient:
    """A client on a clock that can be put forward."""
    credentials = Credentials({"token": TOKEN})
    return UpstreamClient(
        url, Account(lambda: credentials), MOSCOW, connect_timeout=5, attempt_timeout=attempt, clock=clock
    )


@asynccontextmanager
async def before(behaviour: Behaviour, **options: Any) -> AsyncIterator[tuple[HostilePlatform, UpstreamClient]]:
    """A hostile platform and a client of it."""
    platform = HostilePlatform(behaviour)
    async with platform.serve() as url:
        client = client_of(url, **options)
        try:
            yield platform, client
        finally:
            await client.aclose()


async def outcome(client: UpstreamClient) -> Answer | dict[int, Answer]:
    """What a request ends with."""
    try:
        return await ask(client, ASKED)
    except LookupFailure as failure:
        return failure


# --- what may not be used again ---


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (does.replies(b"", 500), ServerError),
        (does.replies(b"<h1>Bad Gateway</h1>", 502), ServerError),
        (does.replies(b"", 302, location="/elsewhere"), UnexpectedStatus),
        (does.replies(b"<html>maintenance</html>"), InvalidReply),
        (does.replies(b"x", content_encoding="gzip"), InvalidReply),
        (does.replies(b'[{"id_sms":5,"state":"re'), InvalidReply),
    ],
)
async def test_a_connection_that_brought_no_answer_is_not_used_again(bad: Behaviour, kind: type[LookupFailure]) -> None:
    async with before(does.after(2, bad)) as (platform, client):
        for _ in range(2):
            assert type(await outcome(client)) is kind
        for _ in range(3):
            assert await ask(client, ASKED)
        assert platform.connections == 3


@pytest.mark.parametrize(
    "good",
    [
        well,
        does.refuses("Incorrect JSON document format"),
        does.refuses("Incorrect login or password", 401),
        does.replies(b"", 404),
        does.replies(b"", 429),
        does.replies(b'[{"id_sms":5,"state":["deliver"]}]'),
    ],
)
async def test_a_connection_that_brought_an_answer_is_used_again(good: Behaviour) -> None:
    async with before(good) as (platform, client):
        for _ in range(3):
            answer = await outcome(client)
        if not isinstance(answer, UnexpectedStatus):
            assert platform.connections == 1


async def test_a_request_in_flight_ends_on_its_connection_when_the_others_are_renewed() -> None:
    slow = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        if exchange.number == 0:
            await slow.wait()
            await well(exchange)
        elif exchange.number == 1:
            await exchange.reply(b"", 500)
        else:
            await well(exchange)

    async with before(behave) as (platform, client):
        first = asyncio.create_task(ask(client, ASKED))
        while not platform.requests:
            await asyncio.sleep(0)
        assert isinstance(await outcome(client), ServerError)
        assert await ask(client, ASKED)
        slow.set()
        assert await first
        assert platform.connections == 3
        async with asyncio.timeout(5):
            while platform.open_connections != 1:
                await asyncio.sleep(0.001)


BEYOND = {
    "another reply": b"HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\n" + b'[{"id_sms":5,"state":"expired"}]'[:31],
    "the beginning of another reply": b"HTTP/1.1 200 OK\r\nX-Part",
    "one byte": b"H",
    "rubbish": b"}]\x00",
    "a line end": b"\r\n",
}


def answering(framed: bytes, beyond: bytes, go_on: asyncio.Event | None, sent: asyncio.Event) -> Behaviour:
    """Answers with these bytes, and sends some more: at once, or when it is told to go on."""

    async def behave(exchange: Exchange) -> None:
        if exchange.number:
            await well(exchange)
        elif go_on is not None:
            await exchange.send(framed)
            await go_on.wait()
            await exchange.send(beyond)
            sent.set()
        else:
            await exchange.send(framed + beyond)
            sent.set()

    return behave


BODY = b'[{"id_sms":5,"state":"read"}]'
FRAMED = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "no body": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("beyond", BEYOND.values(), ids=BEYOND.keys())
@pytest.mark.parametrize("framed", FRAMED.values(), ids=FRAMED.keys())
async def test_bytes_beyond_the_announced_body_are_no_part_of_any_answer(
    framed: bytes, beyond: bytes, later: bool
) -> None:
    go_on, sent = asyncio.Event(), asyncio.Event()
    async with before(answering(framed, beyond, go_on if later else None, sent)) as (platform, client):
        first = await outcome(client)
        assert isinstance(first, UnexpectedStatus | dict)
        go_on.set()
        await sent.wait()
        # What was sent is in our socket; the loop looks at it before anything else is asked.
        await asyncio.sleep(0.01)
        again = await ask(client, ASKED)
        assert getattr(again[5], "state", None) == "read"  # what ``well`` has for the id
        assert platform.connections == 2


# --- heads ---


def with_head(*lines: bytes, interim: int = 0) -> Behaviour:
    """Knows every id, after so many interim replies and with these lines in its head."""

    async def behave(exchange: Exchange) -> None:
        head = b"".join([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(BODY), *lines, b"\r\n"])
        await exchange.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * interim + head + BODY)

    return behave


@pytest.mark.parametrize(
    "lines",
    [
        [b"X-Long: " + b"x" * 20_000 + b"\r\n"],
        [b"Set-Cookie: name%d=%b; path=/\r\n" % (number, b"v" * 40) for number in range(200)],
        [b"X-Long: " + b"x" * 60_000 + b"\r\n"],
        [b"a:b\r\n"] * 10_000,
    ],
    ids=["20 kB", "200 cookies", "60 kB", "10,000 lines"],
)
async def test_a_large_head_is_read(lines: list[bytes]) -> None:
    async with before(with_head(*lines, interim=3)) as (platform, client):
        for _ in range(2):
            assert await ask(client, ASKED)
        assert platform.connections == 1


@pytest.mark.parametrize(
    "lines",
    [[b"X-Long: " + b"x" * MAX_HEAD_BYTES + b"\r\n"], [b"X-More: and more\r\n"] * 5000],
    ids=["one line", "many lines"],
)
async def test_a_head_of_more_than_64_kib_is_no_reply(lines: list[bytes]) -> None:
    async with before(with_head(*lines)) as (platform, client):
        for _ in range(2):
            assert type(await outcome(client)) is InvalidReply
        assert platform.connections == 2


async def endless_interim_replies(exchange: Exchange) -> None:
    """Sends interim replies as fast as it can."""
    while True:
        await exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)


async def interim_replies_and_nothing_more(exchange: Exchange) -> None:
    """Sends a few interim replies, and then keeps silent."""
    await exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 101)
    await exchange.wait_for_the_end()


FLOODS: dict[str, Behaviour] = {
    "interim replies without end": endless_interim_replies,
    "interim replies, and silence": interim_replies_and_nothing_more,
    "headers without end": does.endless_headers,
}


@pytest.mark.parametrize("behaviour", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_of_heads_is_no_reply_and_takes_little_memory_and_nobodys_time(behaviour: Behaviour) -> None:
    async with before(behaviour, attempt=5.0) as (_, client):
        assert type(await outcome(client)) is InvalidReply
        await little_memory_and_time(lambda: outcome(client))


def text_of_8_mib(piece: str, encoding: str = "utf-8") -> bytes:
    """An error object whose text is almost 8 MiB long."""
    encoded = piece.encode(encoding)
    return b'{"error":"%b"}' % (encoded * ((8 * 2**20 - 100) // len(encoded)))


BODIES: dict[str, tuple[int, bytes, str]] = {
    "an error text": (400, text_of_8_mib("x"), "upstream-rejected"),
    "a Russian error text": (400, text_of_8_mib("я"), "upstream-rejected"),
    "an error text in the old code page": (400, text_of_8_mib("я", "cp1251"), "upstream-rejected"),
    "an error text in escapes": (400, text_of_8_mib("\\u044f"), "upstream-rejected"),
    "an error text of faces": (200, text_of_8_mib("😀"), "upstream-rejected"),
    "an error text of faces in escapes": (200, text_of_8_mib("\\ud83d\\ude00"), "upstream-rejected"),
    "an error text of quotes": (200, text_of_8_mib('\\"'), "upstream-invalid-reply"),
    "an error text of invisible characters": (200, text_of_8_mib("\u200b"), "upstream-rejected"),
    "a sentence": (200, b'[{"id_sms":5,"state":"%b"}]' % (b"no " * 2_700_000), "upstream-rejected"),
    "a word": (200, b'[{"id_sms":5,"state":"%b"}]' % (b"no" * 4_000_000), "upstream-invalid-reply"),
    "a number": (200, b"0" * 8_000_000, "upstream-invalid-reply"),
    "white space": (200, b" " * 8_000_000, "upstream-rejected"),
    "anything, with a 500": (500, b"x" * 8_000_000, "upstream-error"),
    "an error text, with a 403": (403, text_of_8_mib("login"), "upstream-error"),
    "hundreds of error texts": (
        200,
        json.dumps([{"id_sms": 5, "error": f"{number} " * 4000} for number in range(300)]).encode(),
        "upstream-rejected",
    ),
}


@pytest.mark.parametrize(("status", "body", "slug"), BODIES.values(), ids=BODIES.keys())
async def test_8_mib_of_whatever_take_little_memory_and_nobodys_time(status: int, body: bytes, slug: str) -> None:
    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(body), 16384):
                await asyncio.sleep(0)
                yield body[start : start + 16384]

    transport = httpx.MockTransport(lambda _: httpx.Response(status, stream=Body()))
    client = UpstreamClient(
        "http://platform.test/",
        Account(lambda: Credentials({"token": TOKEN})),
        MOSCOW,
        connect_timeout=5,
        attempt_timeout=10,
        transport=transport,
    )
    await little_memory_and_time(lambda: outcome(client))
    answer = await outcome(client)
    failure = answer[5] if isinstance(answer, dict) else answer
    assert isinstance(failure, LookupFailure)
    assert failure.slug == slug
    assert failure.upstream_message is None or len(failure.upstream_message) <= 200


async def little_memory_and_time(run: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Checks that something takes no iteration of the event loop more than 50 ms of CPU, and no more than 20 MiB.

    Time is the best of at most five runs, since other processes slow one down; memory is measured apart, which takes
    time. Where coverage is measured each line takes twice as long.
    """
    limit = 0.05 if sys.gettrace() is None else 0.1
    for _ in range(5):
        longest = await longest_turn(run)
        if longest < limit:
            break
    tracemalloc.start()
    try:
        await run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20
    assert longest < limit


async def longest_turn(run: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """How much CPU the longest iteration of the event loop takes, in seconds."""
    longest = 0.0
    task = asyncio.create_task(run())
    while not task.done():
        begun = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - begun)
    return longest


# --- a platform that moves ---


class TwoNodes:
    """One name, two nodes on the same port, and a resolver that says which of them it is."""

    name = "platform.test"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.node = "127.0.0.1"
        self.answers = {"127.0.0.1": b"", "127.0.0.2": b""}
        self.asked: list[str] = []
        self.port = 0
        self._resolve = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)

    def _getaddrinfo(self, host: Any, *more: Any, **named: Any) -> Any:
        found = self.node if host in {self.name, self.name.encode()} else host
        return self._resolve(found, *more, **named)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Both nodes; yields the URL with their name."""
        async with (
            listening(self._node("127.0.0.1")) as self.port,
            listening(self._node("127.0.0.2"), "127.0.0.2", self.port),
        ):
            yield f"http://{self.name}:{self.port}{PATH}"

    def _node(self, address: str) -> Converse:
        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                self.asked.append(address)
                writer.write(self.answers[address])

        return converse


GOOD = FRAMED["a length"]
DEAD = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


async def test_after_a_503_the_node_that_the_name_leads_to_now_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = TwoNodes(monkeypatch)
    nodes.answers |= {"127.0.0.1": GOOD, "127.0.0.2": GOOD}
    async with nodes.serve() as url:
        client = client_of(url)
        assert await ask(client, ASKED)
        nodes.node = "127.0.0.2"
        assert await ask(client, ASKED)
        nodes.answers["127.0.0.1"] = DEAD
        assert isinstance(await outcome(client), ServerError)
        assert await ask(client, ASKED)
        await client.aclose()
    assert nodes.asked == ["127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"]


async def test_after_sixty_seconds_the_name_is_looked_up_again_although_the_old_node_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = TwoNodes(monkeypatch)
    nodes.answers |= {"127.0.0.1": GOOD, "127.0.0.2": GOOD}
    clock = JumpingClock()
    async with nodes.serve() as url:
        client = client_of(url, clock)
        assert await ask(client, ASKED)
        nodes.node = "127.0.0.2"
        clock.jump(59)
        assert await ask(client, ASKED)
        clock.jump(1.1)
        assert await ask(client, ASKED)
        await client.aclose()
    assert nodes.asked == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]


# --- what the class relies on ---


async def test_the_connections_of_the_network_are_of_our_class() -> None:
    transport = network()()
    assert isinstance(transport, AiohttpTransport)
    session = transport.get_client()
    try:
        assert session.connector is not None
        made = session.connector._factory()
        assert type(made) is PlatformConnection
    finally:
        await session.close()


async def test_a_known_error_text_counts_under_another_status_and_a_401_without_one_as_well() -> None:
    async with before(does.refuses("Неверный логин или пароль", 503)) as (_, client):
        assert type(await outcome(client)) is CredentialsRejected
    async with before(does.replies(b"", 401)) as (_, client):
        assert type(await outcome(client)) is CredentialsRejected


async def test_a_body_that_trickles_under_a_status_that_says_enough_is_not_waited_for() -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 503 Odd\r\nContent-Length: 1000\r\n\r\n")
        await exchange.wait_for_the_end()

    async with before(behave) as (_, client):
        begun = time.monotonic()
        assert type(await outcome(client)) is ServerError
        assert time.monotonic() - begun < 2
