"""The way to the network: aiohttp below httpx's interface, and every error of both given a name.

httpx's own transport loses a connection of its pool for good when a request is cancelled while it connects, until
none is left, and costs several times the CPU (``docs/decisions/0008-aiohttp-below-httpx.md``).
"""

import asyncio
import math
import os
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from app.lookup.clock import Clock
from app.lookup.failures import InvalidReply, LookupFailure, TimedOut, TlsFailure, UnexpectedStatus, Unreachable
from app.upstream.connection import MAX_HEAD_BYTES, HeadTooLarge, PlatformConnection

KEEP_ALIVE_SECONDS = 30
"""For idle connections to the platform; PHP servers close theirs after 5 to 75 seconds."""
LIFETIME_SECONDS = 60.0
"""For every connection, and the address that its name had: a platform that moves is found again after this time."""

Transport = httpx.AsyncBaseTransport
"""What sends a request and gets its reply; tests and the sandbox bring one that needs no network."""

# The first row that fits counts, so a subclass stands before its base class.
TRANSPORT_FAILURES: list[tuple[type[Exception], type[LookupFailure], str]] = [
    (HeadTooLarge, InvalidReply, "the head of the platform's reply is too large"),
    (aiohttp.ServerTimeoutError, TimedOut, "the platform did not answer in time"),
    (aiohttp.ClientConnectorDNSError, Unreachable, "the platform's name is not resolved"),
    (aiohttp.ClientConnectorError, Unreachable, "there is no connection to the platform"),
    (aiohttp.ServerDisconnectedError, Unreachable, "the platform closed the connection before its reply"),
    (aiohttp.ClientPayloadError, Unreachable, "the connection ended in the middle of the platform's reply"),
    (aiohttp.ClientResponseError, Unreachable, "what the platform sent is not HTTP"),
    (aiohttp.ClientError, Unreachable, "the connection to the platform failed"),
    (httpx.TimeoutException, TimedOut, "the platform did not answer in time"),
    (httpx.DecodingError, InvalidReply, "the platform's reply cannot be decompressed"),
    (httpx.TooManyRedirects, UnexpectedStatus, "the platform redirects"),
    (httpx.InvalidURL, Unreachable, "the platform's URL cannot be used"),
    (httpx.StreamError, Unreachable, "the platform's reply could not be read"),
    (httpx.HTTPStatusError, UnexpectedStatus, "the platform answered with an error"),
    (httpx.HTTPError, Unreachable, "the connection to the platform failed"),
    (httpx.CookieConflict, UnexpectedStatus, "the platform's cookies conflict"),
    (TimeoutError, TimedOut, "the platform did not answer in time"),
    (OSError, Unreachable, "the connection to the platform failed"),
]

# Not the peer's TLS but the connection below it: waiting for bytes, which hangs as context on every error that comes
# meanwhile, or the connection's end.
_BELOW_TLS = (
    ssl.SSLWantReadError,
    ssl.SSLWantWriteError,
    ssl.SSLEOFError,
    ssl.SSLZeroReturnError,
    ssl.SSLSyscallError,
)


class ConnectionPool:
    """Leases a transport for each request. One is replaced after ``lifetime`` seconds, or when ``renew`` is called, and
    closed when its last request has ended. ``make`` makes a transport."""

    def __init__(self, make: Callable[[], Transport], clock: Clock, lifetime: float = LIFETIME_SECONDS) -> None:
        self._make = make
        self._clock = clock
        self._lifetime = lifetime
        self._current: _Leased | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def fixed(cls, transport: Transport) -> "ConnectionPool":
        """Always the same transport, which has no connections that could age."""
        return _Fixed(transport)

    def lease(self) -> "_Leased":
        """A transport for one request, as a context manager."""
        if self._current is not None and self._clock() >= self._current.until:
            self.renew()
        if self._current is None:
            self._current = _Leased(self._make(), self._clock() + self._lifetime, self._close)
        return self._current

    def renew(self) -> None:
        """Use none of the present connections again."""
        leased, self._current = self._current, None
        if leased is not None:
            leased.retire()

    async def aclose(self) -> None:
        """Close all that no request uses any more."""
        self.renew()
        if self._closing:
            await asyncio.wait(self._closing)

    def _close(self, transport: Transport) -> None:
        task = asyncio.get_running_loop().create_task(transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Leased:
    """A transport that begins no request after ``until``, and is closed with its last one once it is retired."""

    __slots__ = ("_close", "_is_retired", "_requests", "_transport", "until")

    def __init__(self, transport: Transport, until: float, close: Callable[[Transport], None]) -> None:
        self._transport = transport
        self._close = close
        self._requests = 0
        self._is_retired = False
        self.until = until

    def __enter__(self) -> Transport:
        self._requests += 1
        return self._transport

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if self._is_retired and not self._requests:
            self._close(self._transport)

    def retire(self) -> None:
        self._is_retired = True
        if not self._requests:
            self._close(self._transport)


class _Fixed(ConnectionPool):
    def __init__(self, transport: Transport) -> None:
        super().__init__(lambda: transport, lambda: 0.0)
        self._transport = transport
        self._always = _Leased(transport, math.inf, lambda _: None)

    def lease(self) -> _Leased:
        """Return the one transport."""
        return self._always

    def renew(self) -> None:
        """Do nothing: a fixed transport does not age."""

    async def aclose(self) -> None:
        """Close the transport."""
        await self._transport.aclose()


def in_process(app: Callable[..., Any]) -> Transport:
    """A transport to an ASGI application in this process."""
    return httpx.ASGITransport(app)


def network() -> Callable[[], Transport]:
    """What makes transports to the network. How many requests are in flight is the dispatcher's business."""
    # SSL_CERT_FILE and SSL_CERT_DIR are heeded: a platform behind a company's own authority is reached with them.
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEP_ALIVE_SECONDS)
        PlatformConnection.install(connector)
        return aiohttp.ClientSession(
            connector=connector,
            # A session cookie of the platform must not travel: the documented request has none.
            cookie_jar=aiohttp.DummyCookieJar(),
            # No proxy variables, no .netrc.
            trust_env=False,
            # Above the limit for the whole head, which has the last word.
            max_line_size=2 * MAX_HEAD_BYTES,
            max_field_size=2 * MAX_HEAD_BYTES,
            max_headers=MAX_HEAD_BYTES,
        )

    return lambda: AiohttpTransport(verify=context, client=session)


def failure_of(error: Exception) -> LookupFailure | None:
    """The failure that an exception of the transport means; None for one that is not the transport's."""
    of_tls = [each for each in _causes(error) if isinstance(each, ssl.SSLError) and not isinstance(each, _BELOW_TLS)]
    if of_tls:
        # OpenSSL's own error, which says it best, stands below those that wrap it.
        reasons = [getattr(each, "verify_message", None) or getattr(each, "reason", None) for each in of_tls]
        return TlsFailure(_with("the TLS handshake with the platform failed", next(filter(None, reasons), None)))
    # The adapter calls some disconnects time-outs of connecting; what happened is what aiohttp said.
    said = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    number = said.errno if isinstance(said, OSError) else None
    # By its number: the error's own text may have the address.
    reason = os.strerror(number) if number is not None and number > 0 else None
    for kind, failure, why in TRANSPORT_FAILURES:
        if isinstance(said, kind):
            return failure(_with(why, reason))
    return None


def _with(why: str, reason: str | None) -> str:
    """Add what the operating system or OpenSSL calls it, where they say more."""
    return why if not reason else f"{why} ({reason})"


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()  # a transport that raises an inner error anew may have made a circle of them
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
