"""The body of a reply: from the socket to its JSON, however large or broken it is."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from app.lookup.failures import InvalidReply
from app.upstream.transport import failure_of

MAX_REPLY_BYTES = 8 * 1024 * 1024
"""The largest reply that is read, decoded. A thousand entries take about 0.2 MiB."""
MAX_ERROR_BYTES = 64 * 1024
ERROR_SECONDS = 0.5
"""How much of the body, and for how long, is read under a status that already says what happened."""
# A comma or bracket costs the reader an object of up to 100 bytes, so 8 MiB of them would cost hundreds. An honest
# reply to 1000 ids has about 7,000.
MAX_STRUCTURE = 100_000
MAX_ESCAPES = 2_000_000
"""Each costs the reader some time. A thousand Russian sentences have about 50,000."""
LONG_BODY = 64 * 1024
LONG_STRING = 8192
"""Bytes of a body above which it is searched for long strings, and of a string of which no more is of use."""


class JsonNumber(str):
    """A number of a JSON document by its own characters: ``10.6000000`` stays that, and ten thousand digits cost
    no arithmetic. Telling it from a string matters only where a word is expected."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=JsonNumber)


class RawReply(Protocol):
    """A reply whose body has not been read, as httpx has it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Its fields, whatever the case of their names."""

    def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Its body as it was sent."""


async def read_body(response: RawReply, limit: int = MAX_REPLY_BYTES) -> bytearray:
    """The decoded body. The client's own decoder would expand a whole chunk before anybody could stop it."""
    encoding = response.headers.get("content-encoding")
    # Any other name ("utf-8", "none") is a mistake on a plain body. wbits 47: zlib recognises its two formats itself.
    inflate = zlib.decompressobj(47) if encoding and _is_compressed(encoding) else None
    body = bytearray()
    received = 0
    async for chunk in response.aiter_raw(65536):
        received += len(chunk)
        if inflate is None:
            body += chunk
        elif not inflate.eof:  # what follows a whole stream would pile up in the decompressor
            try:
                body += inflate.decompress(chunk, limit + 1 - len(body))
            except zlib.error:
                raise InvalidReply("the platform's reply cannot be decompressed") from None
        if max(received, len(body)) > limit:
            raise InvalidReply("the platform's reply is too large")
    if inflate is not None and not inflate.eof:
        raise InvalidReply("the platform's reply cannot be decompressed")
    return body


def _is_compressed(encoding: str) -> bool:
    return any(name.strip() in {"gzip", "x-gzip", "deflate"} for name in encoding.lower().split(","))


async def read_error(response: RawReply) -> bytearray:
    """The body under a status that says enough by itself; empty where it is too long, too slow or broken."""
    try:
        async with asyncio.timeout(ERROR_SECONDS):
            return await read_body(response, MAX_ERROR_BYTES)
    except Exception as error:
        if isinstance(error, InvalidReply) or failure_of(error) is not None:
            return bytearray()
        raise


def text_of(body: bytes | bytearray) -> str | InvalidReply:
    """The characters of a reply, or why it is not read any further."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_STRUCTURE:
        return InvalidReply("the platform's reply has too many parts")
    if len(body) > LONG_BODY:
        if body.count(b"\\") > MAX_ESCAPES:
            return InvalidReply("the platform's reply has too many escapes")
        body = _without_long_strings(body)
    try:
        # Without "utf-8-sig", which copies the body first.
        return body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        # The platform is a Russian PHP site: what is not UTF-8 is most likely its old code page.
        return body.decode("cp1251", errors="replace")


def _without_long_strings(body: bytes | bytearray) -> bytes | bytearray:
    """A body with its endless strings cut: they would be copied several times, and nobody reads them to the end.

    Only where there is no escape: then every quote begins or ends a string.
    """
    if b"\\" in body:
        return body
    kept: list[bytes | bytearray] = []
    begin = place = counted = 0
    inside = False
    while place + LONG_STRING < len(body):
        quote = body.rfind(b'"', place, place + LONG_STRING)
        if quote >= 0:
            place = quote + 1
            continue
        inside ^= body.count(b'"', counted, place) % 2 == 1
        counted = place
        end = body.find(b'"', place)
        if end < 0:
            break
        if inside:
            cut = place + LONG_STRING
            while 0x80 <= body[cut] < 0xC0:  # a character of several bytes stays whole
                cut += 1
            kept.append(body[begin:cut])
            begin = end
        place = end
    return b"".join([*kept, body[begin:]]) if kept else body


def load(text: str | InvalidReply) -> object:
    """The platform's JSON, numbers by their own characters; None for nothing but space, InvalidReply for no JSON."""
    if isinstance(text, InvalidReply):
        return text
    try:
        return _DECODER.decode(text) if text.strip() else None
    except (ValueError, RecursionError):
        return InvalidReply("the platform's reply is not JSON")
