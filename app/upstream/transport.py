"""The way to the network: aiohttp below httpx's interface, and every error of both given a name.

httpx's own transport loses a connection of its pool for good when a request is cancelled while it connects, until
none is left, and costs several times the CPU (``docs/decisions/0008-aiohttp-below-httpx.md``).
"""

import ssl
from collections.abc import Iterator

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from app.lookup.failures import InvalidReply, LookupFailure, TimedOut, TlsFailure, UnexpectedStatus, Unreachable

KEEP_ALIVE_SECONDS = 30
"""For idle connections to the platform; PHP servers close theirs after 5 to 75 seconds."""

# Where an exception stands for several causes, the most specific class comes first.
TRANSPORT_FAILURES: list[tuple[type[Exception], type[LookupFailure], str]] = [
    (aiohttp.ServerTimeoutError, TimedOut, "the platform did not answer in time"),
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


def network() -> httpx.AsyncBaseTransport:
    """A transport for the life of the service. How many requests are out at a time is the slots' business."""
    # SSL_CERT_FILE and SSL_CERT_DIR are heeded: a platform behind a company's own authority is reached with them.
    context = httpx.create_ssl_context()

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context, keepalive_timeout=KEEP_ALIVE_SECONDS),
            # A session cookie of the platform must not travel: the documented request has none.
            cookie_jar=aiohttp.DummyCookieJar(),
            # No proxy variables, no .netrc.
            trust_env=False,
        )

    return AiohttpTransport(verify=context, client=session)


def failure_of(error: Exception) -> LookupFailure | None:
    """The failure that an exception of the transport means; None for one that is not the transport's."""
    if any(isinstance(cause, ssl.SSLError) and not isinstance(cause, _BELOW_TLS) for cause in _causes(error)):
        return TlsFailure("the TLS handshake with the platform failed")
    # The adapter calls some disconnects time-outs of connecting; what happened is what aiohttp said.
    said = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    return next((failure(why) for kind, failure, why in TRANSPORT_FAILURES if isinstance(said, kind)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()  # a transport that raises an inner error anew may have made a circle of them
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
