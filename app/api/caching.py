"""What lets callers reuse an answer: ETag, Cache-Control, Age, and conditional requests (RFC 9110, RFC 9111)."""

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

from app.lookup.engine import Found, Source

NO_STORE = {"Cache-Control": "no-store"}

_VARY = "Origin, Authorization, X-API-Key"
_ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def state_response(request: Request, body: bytes, found: Found, *, keep: bool = True) -> Response:
    """A state with its caching headers; 304 where the caller has this body already.

    ``keep``: whether it may be stored. What was waited for may not: the next wait is another one.
    """
    headers = {
        "ETag": etag(body),
        # max-age is the whole lifetime and Age what is gone of it (RFC 9111, section 4.2.3).
        "Cache-Control": f"private, max-age={int(found.lifetime)}" if keep else "no-store",
        "Age": str(int(found.age)),
        "Cache-Status": "message-state; hit" if found.source is Source.CACHE else "message-state; fwd=miss",
        "Vary": _VARY,
    }
    if_none_match = request.headers.get("if-none-match")
    if if_none_match is not None and matches(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def etag(body: bytes) -> str:
    """A strong entity tag: the same body has the same tag on every replica."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Whether the header names the tag, by weak comparison (RFC 9110, section 13.1.2)."""
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)


def wants_fresh(request: Request) -> bool:
    """Whether the caller refuses what is in the cache (``Cache-Control: no-cache``)."""
    directives = ",".join(request.headers.getlist("cache-control")).lower().split(",")
    return any(directive.strip() == "no-cache" for directive in directives)
