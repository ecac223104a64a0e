"""Calls from pages of other origins (the Fetch standard, "CORS protocol"). Plain ASGI.

Starlette's own middleware answers a refused preflight with 400 in plain text, and leaves the answers to crashes
without headers, so that a page would see a network failure instead of a problem.
"""

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST")
REQUEST_HEADERS = (
    "X-API-Key",
    "Authorization",
    "If-None-Match",
    "Last-Event-ID",
    "Cache-Control",
    "Content-Type",
    "X-Request-ID",
    "traceparent",
    # What request libraries and tracing libraries of pages add by themselves.
    "X-Requested-With",
    "tracestate",
    "baggage",
    "sentry-trace",
)
READABLE_HEADERS = ("ETag", "Age", "Cache-Status", "Retry-After", "X-Request-ID")
MAX_AGE_SECONDS = 600
"""How long a browser may remember a preflight: a change of the service reaches every page within ten minutes."""

_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_PERMISSION = {
    "Access-Control-Allow-Methods": ", ".join(METHODS),
    "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
    "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
}
_EXPOSED = (b"access-control-expose-headers", ", ".join(READABLE_HEADERS).encode())


class Cors:
    """Lets pages of the given origins read every answer, whatever made it, and answers preflights.

    Cookies play no part in this service, so no answer allows credentials; keys travel in headers that pages set.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"origin"]
        origin = given[0] if len(given) == 1 and given[0] in self._origins else None
        if given and scope["method"] == "OPTIONS":
            wanted = [value for name, value in scope["headers"] if name == b"access-control-request-method"]
            if wanted:
                await _preflight(origin, wanted)(scope, receive, send)
                return

        async def send_with_permission(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _with_permission(message.get("headers", []), origin)}
            await send(message)

        await self._app(scope, receive, send_with_permission)


def _preflight(origin: bytes | None, wanted: list[bytes]) -> Response:
    """204 without permission is a refusal too, and one that the browser's console explains well."""
    headers = {"Vary": _PREFLIGHT_VARY}
    if origin is not None and len(wanted) == 1 and wanted[0].decode("latin-1") in (*METHODS, "HEAD"):
        headers |= {"Access-Control-Allow-Origin": origin.decode(), **_PERMISSION}
    return Response(status_code=204, headers=headers)


def _with_permission(headers: Iterable[tuple[bytes, bytes]], origin: bytes | None) -> list[tuple[bytes, bytes]]:
    headers = list(headers)
    if not any(name == b"vary" and b"origin" in value.lower() for name, value in headers):
        headers.append((b"vary", b"Origin"))
    if origin is not None:
        headers += [(b"access-control-allow-origin", origin), _EXPOSED]
    return headers
