"""gzip for answers of 1 KiB and more: batches, documents, pages. Plain ASGI around Starlette's responders."""

from collections.abc import Awaitable

from starlette.middleware.gzip import GZipResponder, IdentityResponder
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.negotiation import accepts_gzip

MIN_COMPRESSED = 1024
"""Bytes. Less fits into one packet either way."""
LONGEST_STATE_PATH = 64
"""Characters: twice that of a number of 16 digits. Only a problem that repeats a longer path is of any size."""
LEVEL = 4
"""Of zlib: docs/performance.md compares the levels."""


class Compression:
    """Compresses answers where the request accepts it.

    Starlette's ``GZipMiddleware`` looks for the word ``gzip`` alone, and so would compress for ``gzip;q=0``. Its
    responders let event streams and what is compressed already through. Deferred responses do not come this way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        # The state of one message is short, and the most frequent request: it is spared the responder.
        if scope["type"] != "http" or (scope["path"].endswith("/state") and len(scope["path"]) <= LONGEST_STATE_PATH):
            return self._app(scope, receive, send)
        accepted = b",".join([value for name, value in scope["headers"] if name == b"accept-encoding"])
        if accepts_gzip(accepted.decode("latin-1")):
            return GZipResponder(self._app, MIN_COMPRESSED, LEVEL)(scope, receive, send)
        return IdentityResponder(self._app, MIN_COMPRESSED)(scope, receive, send)
