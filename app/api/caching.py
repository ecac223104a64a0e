"""What lets callers reuse an answer: ETag, Cache-Control, Age, and conditional requests (RFC 9110, RFC 9111)."""

import hashlib
import re
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from app.lookup.engine import LookupResult
from app.lookup.waiter import Source

Header = tuple[bytes, bytes]

NO_STORE = {"Cache-Control": "no-store"}

_VARY = (b"vary", b"Origin, Authorization, X-API-Key")
_HIT = (b"cache-status", b"message-state; hit")
_MISS = (b"cache-status", b"message-state; fwd=miss")
_JSON = (b"content-type", b"application/json")
_ENTITY_TAG = re.compile(r'(?:W/)?"([^"]*)"')
# Proxies that compress mark the tag: W/ (nginx, HAProxy), and a suffix (Apache, Caddy, Jetty).
_PROXY_SUFFIX = re.compile(r"(?:--?|;)(?:gzip|br|zstd|deflate)$")


def state_response(scope: Scope, body: bytes, found: LookupResult, *, keep: bool = True) -> Response:
    """A state with its caching headers; 304 where the caller has this body already.

    ``keep``: whether it may be stored. What was waited for may not: the next wait is another one.
    """
    content = StateContent.of(body, found.lifetime if keep else None)
    return _Made(*content.answer(if_none_match(scope), found.age, hit=found.source is Source.CACHE))


class StateContent(NamedTuple):
    """What the answers with one state have in common, as long as it stays: the body, and headers made of it."""

    body: bytes
    tag: str
    etag: Header
    cache_control: Header
    length: Header

    @classmethod
    def of(cls, body: bytes, lifetime: float | None) -> "StateContent":
        """``lifetime``: seconds for which answers with it may be stored; None where they may not."""
        tag = etag(body)
        # max-age is the whole lifetime and Age what is gone of it (RFC 9111, section 4.2.3).
        control = b"no-store" if lifetime is None else b"private, max-age=%d" % lifetime
        length = (b"content-length", b"%d" % len(body))
        return cls(body, tag, (b"etag", tag.encode()), (b"cache-control", control), length)

    def answer(self, known: str | None, age: float, *, hit: bool) -> tuple[int, bytes, list[Header]]:
        """The status, the body and the headers of an answer.

        ``known``: the tags of ``If-None-Match``. ``age``: seconds since the platform's reply.
        """
        headers = [_VARY, self.etag, self.cache_control, (b"age", b"%d" % age), _HIT if hit else _MISS]
        if known is not None and matches(known, self.tag):
            return 304, b"", headers
        return 200, self.body, [*headers, _JSON, self.length]


class _Made(Response):
    """A response whose headers are bytes already: Starlette would look through them and encode each anew."""

    def __init__(self, status: int, body: bytes, headers: list[Header]) -> None:
        self.status_code = status
        self.body = body
        self.raw_headers = headers
        self.background = None


def etag(body: bytes) -> str:
    """A strong entity tag: the same body has the same tag on every replica."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def if_none_match(scope: Scope) -> str | None:
    """The header's list of tags, which may come in several lines (RFC 9110, section 5.3); None without it."""
    return _header(scope, b"if-none-match") or None


def matches(header: str, tag: str) -> bool:
    """Whether the header names the tag, by weak comparison (RFC 9110, section 13.1.2).

    Also where a proxy on the way has marked the tag as that of a compressed answer.
    """
    if header in (tag, "*") or header.strip() == "*":
        return True
    opaque = tag.removeprefix("W/").strip('"')
    return any(opaque in (each, _PROXY_SUFFIX.sub("", each)) for each in _ENTITY_TAG.findall(header))


def wants_fresh(scope: Scope) -> bool:
    """Whether the caller refuses what is in the cache (``Cache-Control: no-cache``)."""
    directives = _header(scope, b"cache-control").lower()
    return "no-cache" in directives and "no-cache" in map(str.strip, directives.split(","))


def _header(scope: Scope, name: bytes) -> str:
    """All lines of a header as one; empty without it. Starlette's Headers would first be made from all of them."""
    lines = ""
    for each, value in scope["headers"]:
        if each == name:
            lines += (", " if lines else "") + value.decode("latin-1")
    return lines
