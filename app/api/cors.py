"""Calls from pages of other origins (the Fetch standard, "CORS protocol").

Why not Starlette's middleware: ``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

from collections.abc import Iterable

from starlette.responses import Response
from starlette.types import Scope

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

Headers = list[tuple[bytes, bytes]]

_WANTED = b"access-control-request-method"
_PREFLIGHT_VARY = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
_PERMISSION = {
    "Access-Control-Allow-Methods": ", ".join(METHODS),
    "Access-Control-Allow-Headers": ", ".join(REQUEST_HEADERS),
    "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
}
_EXPOSED = (b"access-control-expose-headers", ", ".join(READABLE_HEADERS).encode())


class Cors:
    """Which pages may read an answer, and what a preflight is told.

    Cookies play no part in this service, so no answer allows credentials; keys travel in headers that pages set.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.encode() for origin in origins)

    def is_preflight(self, scope: Scope) -> bool:
        """Whether a browser asks what a page of another origin may send."""
        return scope["method"] == "OPTIONS" and {b"origin", _WANTED} <= {name for name, _ in scope["headers"]}

    def preflight(self, scope: Scope) -> Response:
        """204 without permission is a refusal too, and one that the browser's console explains well."""
        headers = {"Vary": _PREFLIGHT_VARY}
        wanted = [value for name, value in scope["headers"] if name == _WANTED]
        allowed = len(wanted) == 1 and wanted[0].decode("latin-1") in (*METHODS, "HEAD")
        origin = self._allowed_origin(scope)
        if allowed and origin is not None:
            headers |= {"Access-Control-Allow-Origin": origin.decode(), **_PERMISSION}
        return Response(status_code=204, headers=headers)

    def permission(self, scope: Scope, headers: Headers) -> Headers:
        """The headers to add to those of an answer, so that a page of an allowed origin can read it."""
        origin = self._allowed_origin(scope)
        added = [] if origin is None else [(b"access-control-allow-origin", origin), _EXPOSED]
        for name, value in headers:
            if name == b"vary" and b"origin" in value.lower():
                return added
        return [(b"vary", b"Origin"), *added]

    def _allowed_origin(self, scope: Scope) -> bytes | None:
        allowed: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"origin":
                if allowed is not None or value not in self._origins:
                    return None
                allowed = value
        return allowed
