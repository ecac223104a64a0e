"""One request to the platform, over real sockets where the transport matters."""

import asyncio
import gzip
import json
import logging
import socket
import ssl
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import httpx
import pytest

from app.lookup.failures import (
    CredentialsRejected,
    InvalidReply,
    LookupFailure,
    ServerError,
    Throttled,
    TimedOut,
    TlsFailure,
    UnexpectedStatus,
    Unreachable,
)
from app.lookup.record import MessageRecord
from app.upstream.body import MAX_REPLY_BYTES
from app.upstream.client import UpstreamClient
from app.upstream.connection import HeadTooLarge
from app.upstream.credentials import Account, Credentials
from app.upstream.transport import failure_of
from tests.support.asking import ask
from tests.support.listening import listening
from tests.support.platform import TOKEN, URL, FakePlatform, Reply, reply
from tests.unit.upstream.wire_cases import DOCUMENTED, MOSCOW

pytestmark = pytest.mark.anyio

READ = b'[{"id_sms":5,"state":"read"}]'
GZIPPED = gzip.compress(READ, mtime=0)  # without the time: every collection makes the same tests


def client_of(url: str = URL, *, transport: httpx.AsyncBaseTransport | None = None, **limits: Any) -> UpstreamClient:
    """A client with limits that no test reaches by accident."""
    return UpstreamClient(
        url,
        Account(lambda: Credentials({"token": TOKEN})),
        MOSCOW,
        connect_timeout=limits.get("connect_timeout", 5),
        attempt_timeout=limits.get("attempt_timeout", 10),
        transport=transport,
    )


@asynccontextmanager
async def over_a_socket(platform: FakePlatform, **limits: Any) -> AsyncIterator[UpstreamClient]:
    """A client that reaches the platform over a real socket."""
    async with platform.serve() as url:
        client = client_of(url, **limits)
        try:
            yield client
        finally:
            await client.aclose()


async def failure_from(platform: FakePlatform, **limits: Any) -> LookupFailure:
    """The failure that the platform's next reply becomes, over a real socket."""
    async with over_a_socket(platform, **limits) as client:
        with pytest.raises(LookupFailure) as caught:
            await ask(client, {5: False})
        return caught.value


def exceptions_of_httpx() -> list[type[Exception]]:
    """Every exception class of httpx, with all that derive from them."""
    found: list[type[Exception]] = [
        value for value in vars(httpx).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    for each in found:
        found.extend(kind for kind in each.__subclasses__() if kind not in found)
    return sorted(set(found), key=lambda kind: kind.__name__)


def make(kind: type[Exception]) -> Exception:
    """An instance, however its class wants to be made."""
    request = httpx.Request("POST", URL)
    if issubclass(kind, httpx.HTTPStatusError):
        return kind("x", request=request, response=httpx.Response(500, request=request))
    try:
        return kind("x")
    except TypeError:
        return kind()


EXPECTED: dict[str, type[LookupFailure]] = {
    "ConnectTimeout": TimedOut,
    "ReadTimeout": TimedOut,
    "WriteTimeout": TimedOut,
    "PoolTimeout": TimedOut,
    "ConnectError": Unreachable,
    "ReadError": Unreachable,
    "WriteError": Unreachable,
    "CloseError": Unreachable,
    "RemoteProtocolError": Unreachable,
    "LocalProtocolError": Unreachable,
    "ProxyError": Unreachable,
    "UnsupportedProtocol": Unreachable,
    "DecodingError": InvalidReply,
    "TooManyRedirects": UnexpectedStatus,
}


@pytest.mark.parametrize("kind", exceptions_of_httpx(), ids=lambda kind: kind.__name__)
def test_every_exception_of_httpx_has_a_mapping(kind: type[Exception]) -> None:
    failure = failure_of(make(kind))
    assert failure is not None
    assert type(failure) is EXPECTED.get(kind.__name__, type(failure))


def test_the_enumeration_of_exceptions_finds_the_known_ones() -> None:
    assert EXPECTED.keys() <= {kind.__name__ for kind in exceptions_of_httpx()}


def test_errors_below_httpx_have_a_mapping_and_defects_have_none() -> None:
    assert isinstance(failure_of(TimeoutError()), TimedOut)
    assert isinstance(failure_of(OSError()), Unreachable)
    assert isinstance(failure_of(ssl.SSLError()), TlsFailure)
    assert failure_of(RuntimeError()) is None


def test_a_tls_error_is_found_below_httpxs_own() -> None:
    error = httpx.ConnectError("x")
    error.__cause__ = OSError()
    error.__cause__.__context__ = ssl.SSLCertVerificationError()
    assert isinstance(failure_of(error), TlsFailure)


def exceptions_of_aiohttp() -> list[type[Exception]]:
    """Every class of errors that aiohttp's client has."""
    found: list[type[Exception]] = []
    waiting: list[type[Exception]] = [aiohttp.ClientError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting += kind.__subclasses__()
    return sorted(set(found), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", exceptions_of_aiohttp(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("adapted", [True, False], ids=["called a time-out by the adapter", "unmapped by it"])
def test_every_exception_of_aiohttp_has_a_mapping(kind: type[Exception], adapted: bool) -> None:
    said = kind.__new__(kind)
    error: Exception = httpx.ConnectTimeout("x") if adapted else said
    if adapted:
        error.__cause__ = said
    expected = (
        InvalidReply
        if kind is HeadTooLarge
        else TlsFailure
        if issubclass(kind, ssl.SSLError)
        else TimedOut
        if issubclass(kind, TimeoutError)
        else Unreachable
    )
    assert type(failure_of(error)) is expected


async def test_requests_that_are_cancelled_at_any_moment_cost_no_later_one(platform: FakePlatform) -> None:
    # httpx's own transport loses a connection for good when it is cancelled while it connects.
    async with platform.serve() as url:
        client = UpstreamClient(
            url, Account(lambda: Credentials({"token": TOKEN})), MOSCOW, connect_timeout=5, attempt_timeout=20
        )

        async def give_up_after(turns: int) -> None:
            task = asyncio.create_task(ask(client, {82216: False}))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        for turns in range(60):
            await asyncio.gather(*(give_up_after(turns) for _ in range(4)))
        assert await ask(client, {82216: False})
        await client.aclose()


@pytest.mark.parametrize("url", ["http://10.0.0.300/json/state.php", "http://[v1.x]/json/state.php"])
async def test_a_url_that_nobody_can_use_fails_requests_and_not_the_start(url: str) -> None:
    client = UpstreamClient(
        url, Account(lambda: Credentials({"token": TOKEN})), MOSCOW, connect_timeout=5, attempt_timeout=20
    )
    with pytest.raises(Unreachable):
        await ask(client, {82216: False})
    await client.aclose()


@pytest.mark.parametrize(
    ("status", "reply", "may_be_error"),
    [
        (200, [{"id_sms": 5, "state": "read"}], False),
        (400, {"error": "x"}, True),
        (400, [], True),
        (200, {"error": "Incorrect login or password"}, True),
        (200, [{"error": "x"}], True),
        (200, [{"id_sms": 5, "state": "Неверный логин или пароль"}], True),
    ],
)
async def test_a_reply_that_may_speak_of_an_error_says_so_before_it_is_read(
    status: int, reply: object, may_be_error: bool
) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, stream=httpx.ByteStream(json.dumps(reply).encode()))

    client = client_of("http://platform.test/", transport=httpx.MockTransport(answer))
    unread = await client.send({5: False})
    assert not isinstance(unread, LookupFailure)
    assert unread.may_be_error is may_be_error
    await client.aclose()


def test_a_circle_of_causes_ends() -> None:
    error, wrapper = httpx.ConnectError("x"), RuntimeError("y")
    error.__cause__, wrapper.__cause__ = wrapper, error
    assert isinstance(failure_of(error), Unreachable)


async def test_the_request_is_the_documented_one_and_nothing_else_travels() -> None:
    platform = FakePlatform()
    platform.always = reply(DOCUMENTED)
    async with over_a_socket(platform) as client:
        answers = await ask(client, {82216: True})
    assert isinstance(answers[82216], MessageRecord)
    sent = platform.requests[0]
    assert (sent.method, sent.path) == ("POST", "/json/state.php")
    assert sent.headers["content-type"] == "text/json; charset=utf-8"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.entries == [{"token": TOKEN, "id_sms": 82216, "detail": 1}]
    assert set(sent.headers) == {
        "host", "accept", "accept-encoding", "user-agent", "content-type", "content-length",
    }  # fmt: skip


async def test_the_connection_is_kept_for_the_next_request_and_cookies_are_not_sent_back() -> None:
    platform = FakePlatform()
    platform.always = reply(READ, set_cookie="PHPSESSID=abc; path=/")
    async with over_a_socket(platform) as client:
        await ask(client, {5: False})
        await ask(client, {5: False})
    assert len(platform.requests) == 2
    assert all("cookie" not in request.headers for request in platform.requests)


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    platform = FakePlatform()
    platform.always = reply(READ)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


async def test_a_netrc_file_adds_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    platform = FakePlatform()
    platform.always = reply(READ)
    async with over_a_socket(platform) as client:
        await ask(client, {5: False})
    assert "authorization" not in platform.requests[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    platform = FakePlatform()
    platform.always = reply("", status, location="/json/state.php")
    assert isinstance(await failure_from(platform), UnexpectedStatus)
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(304, UnexpectedStatus), (401, CredentialsRejected), (403, UnexpectedStatus), (404, UnexpectedStatus),
     (413, UnexpectedStatus), (500, ServerError), (502, ServerError), (503, ServerError), (599, ServerError)],
)  # fmt: skip
async def test_a_status_that_is_not_documented_is_a_failure_whatever_the_body(
    status: int, kind: type[LookupFailure]
) -> None:
    platform = FakePlatform()
    platform.always = reply(b"" if status == 304 else READ, status)
    failure = await failure_from(platform)
    assert type(failure) is kind
    assert str(status) in str(failure)


@pytest.mark.parametrize("status", [200, 201, 203])
async def test_any_success_is_read(status: int) -> None:
    platform = FakePlatform()
    platform.always = reply(READ, status)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


@pytest.mark.parametrize("content_type", ["text/html; charset=windows-1251", "application/json", "image/png", "x", ""])
async def test_any_content_type_of_a_reply_is_read(content_type: str) -> None:
    platform = FakePlatform()
    platform.always = reply(READ, content_type=content_type)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 1), ("60", 60), ("61", 60), ("9" * 400, 60), ("", 1), ("soon", 1), ("-5", 1), ("1.5", 1), ("²", 1),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 60), ("Fri, 01 Jan 2021 00:00:00 GMT", 1), ("Fri, 99 Jan 2021", 1),
     ("Fri, 31 Dec 0000 23:59:59 GMT", 1)],
)  # fmt: skip
async def test_a_429_names_the_seconds_that_the_platform_asks_for(header: str, seconds: float) -> None:
    def throttle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers=[(b"Retry-After", header.encode("latin-1"))])

    client = client_of(transport=httpx.MockTransport(throttle))
    with pytest.raises(Throttled) as caught:
        await ask(client, {5: False})
    assert caught.value.retry_after == seconds


async def test_a_429_with_a_date_means_the_time_until_then() -> None:
    platform = FakePlatform()
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    platform.always = reply("", 429, retry_after=then)
    failure = await failure_from(platform)
    assert failure.retry_after is not None
    assert 20 <= failure.retry_after <= 30


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff\xfe",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"id",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200",
    ],
    ids=["closed", "bytes", "another protocol", "truncated", "cut chunk", "bad chunk", "bad length", "cut status"],
)  # fmt: skip
async def test_a_connection_that_brings_no_whole_reply_is_unreachable(raw: bytes) -> None:
    platform = FakePlatform()
    platform.always = Reply(raw=raw)
    assert type(await failure_from(platform)) is Unreachable


async def test_a_reply_that_ends_with_the_connection_is_read() -> None:
    platform = FakePlatform()
    platform.always = Reply(raw=b"HTTP/1.0 200 OK\r\n\r\n" + READ)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", GZIPPED), ("x-gzip", GZIPPED), ("GZIP", GZIPPED), ("deflate", zlib.compress(READ)), ("identity", READ)],
)
async def test_a_compressed_reply_is_read_although_nobody_asked_for_one(encoding: str, body: bytes) -> None:
    platform = FakePlatform()
    platform.always = reply(body, content_encoding=encoding)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("gzip", READ), ("gzip", GZIPPED[:-9]), ("gzip", b""), ("gzip, gzip", READ)],
)  # fmt: skip
async def test_a_reply_that_cannot_be_decompressed_is_invalid(encoding: str, body: bytes) -> None:
    platform = FakePlatform()
    platform.always = reply(body, content_encoding=encoding)
    assert type(await failure_from(platform)) is InvalidReply


@pytest.mark.parametrize("encoding", ["utf-8", "none", "br", "UTF-8, identity", "binary", ""])
async def test_an_encoding_that_there_is_not_stands_on_a_plain_body(encoding: str) -> None:
    platform = FakePlatform()
    platform.always = reply(READ, content_encoding=encoding)
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024), compresslevel=1)
    platform = FakePlatform()
    platform.always = reply(bomb, content_encoding="gzip")
    failure = await failure_from(platform)
    assert (type(failure), "too large" in str(failure)) == (InvalidReply, True)


async def test_eight_mebibytes_are_read_and_one_byte_more_is_not() -> None:
    platform = FakePlatform()
    platform.script.extend([reply(READ.ljust(MAX_REPLY_BYTES)), reply(READ.ljust(MAX_REPLY_BYTES + 1))])
    async with over_a_socket(platform) as client:
        assert 5 in await ask(client, {5: False})
        with pytest.raises(InvalidReply, match="too large"):
            await ask(client, {5: False})


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = client_of(f"http://127.0.0.1:{unused.getsockname()[1]}/json/state.php")
        with pytest.raises(Unreachable):
            await ask(client, {5: False})
        await client.aclose()


async def test_a_name_that_does_not_resolve_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    client = client_of("http://nowhere.invalid/json/state.php")
    with pytest.raises(Unreachable):
        await ask(client, {5: False})
    await client.aclose()


@pytest.mark.parametrize(
    ("greeting", "kind"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", TlsFailure), (b"", Unreachable), (None, TimedOut)],
    ids=["speaks plain HTTP", "closes", "is silent"],
)
async def test_a_tls_handshake_fails_by_its_cause(greeting: bytes | None, kind: type[LookupFailure]) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if greeting is None:
            await asyncio.Event().wait()
        writer.write(greeting or b"")

    async with listening(greet) as port:
        url = f"https://127.0.0.1:{port}/json/state.php"
        client = client_of(url, connect_timeout=5 if greeting is not None else 0.05)
        with pytest.raises(LookupFailure) as caught:
            await ask(client, {5: False})
        assert type(caught.value) is kind
        await client.aclose()


def test_waiting_for_bytes_and_the_end_of_a_connection_are_no_tls_failures() -> None:
    for below in (ssl.SSLWantReadError(), ssl.SSLEOFError(), ssl.SSLZeroReturnError(), ssl.SSLSyscallError()):
        error = httpx.ReadError("reset")
        error.__cause__ = ConnectionResetError()
        error.__cause__.__context__ = below
        assert isinstance(failure_of(error), Unreachable)


async def test_a_connection_that_does_not_come_about_ends_with_the_connect_timeout() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as filler:
            filler.connect(full.getsockname())
            client = client_of(
                f"http://127.0.0.1:{full.getsockname()[1]}/json/state.php", connect_timeout=0.05, attempt_timeout=30
            )
            started = time.monotonic()
            with pytest.raises(TimedOut):
                await ask(client, {5: False})
            assert time.monotonic() - started < 5
            await client.aclose()


async def test_a_reply_that_does_not_come_ends_with_the_attempts_time() -> None:
    platform = FakePlatform()
    platform.always = Reply(hang=True)
    assert type(await failure_from(platform, attempt_timeout=0.05, connect_timeout=0.05)) is TimedOut


async def test_a_reply_that_trickles_ends_with_the_attempts_time() -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0)

    client = client_of(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=trickle())), attempt_timeout=0.05
    )
    with pytest.raises(TimedOut):
        await ask(client, {5: False})


async def test_a_defect_is_not_taken_for_a_failure_of_the_platform() -> None:
    def broken(_: httpx.Request) -> httpx.Response:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        await ask(client_of(transport=httpx.MockTransport(broken)), {5: False})


async def test_a_new_state_is_logged_once_for_each_word(caplog: pytest.LogCaptureFixture) -> None:
    platform = FakePlatform()
    platform.knows(5, state="delayed")
    platform.knows(6, state="lost\n")
    client = client_of(transport=platform.transport())
    for _ in range(3):
        await ask(client, {5: False, 6: False})
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 2
    assert "'delayed'" in warned[0]
    assert "\n" not in warned[1]


async def test_only_so_many_words_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    platform = FakePlatform()
    ids = range(1, 151)
    for id_ in ids:
        platform.knows(id_, state=f"word{id_}")
    await ask(client_of(transport=platform.transport()), dict.fromkeys(ids, False))
    assert len([record for record in caplog.records if "undocumented" in record.getMessage()]) == 100


async def test_fields_that_cannot_be_read_are_logged_by_name_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    platform = FakePlatform()
    platform.knows(5, num_parts="many", price="4711 coins")
    await ask(client_of(transport=platform.transport()), {5: True})
    assert "num_parts, price" in caplog.text
    assert "4711" not in caplog.text


async def test_no_credential_appears_in_a_failure_or_its_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    platform = FakePlatform()
    platform.always = reply({"error": f"bad token {TOKEN}"}, 400)
    failure = await failure_from(platform)
    assert failure.upstream_message is None
    assert TOKEN not in f"{failure!r} {failure} {caplog.text}"
