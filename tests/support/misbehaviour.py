"""What a hostile platform can do with a request. ``tests/faults/`` says what must come of each."""

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import Collection
from functools import cache

from tests.support.hostile import Behaviour, Exchange, entry, headers_of, well
from tests.support.platform import TOKEN

DRIP_SECONDS = 0.05
"""Between two bytes of a slow reply: far below every limit for a single wait on the socket."""


async def hang(exchange: Exchange) -> None:
    """Never answers."""
    await exchange.wait_for_the_end()


async def drip_head(exchange: Exchange) -> None:
    """Sends the head of its reply byte by byte."""
    await _drip(exchange, headers_of(content_length="2"))


async def drip_body(exchange: Exchange) -> None:
    """Sends a long body byte by byte."""
    await exchange.send(headers_of(content_length="1000"))
    await _drip(exchange, b" " * 1000)


async def _drip(exchange: Exchange, data: bytes) -> None:
    for byte in data:
        await exchange.send(bytes([byte]))
        await asyncio.sleep(DRIP_SECONDS)


async def endless_interim_replies(exchange: Exchange) -> None:
    """Sends one interim reply after another, and never the reply itself."""
    while True:
        await exchange.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(0.01)


async def reset_before_the_reply(exchange: Exchange) -> None:
    """Resets the connection in place of a reply."""
    exchange.reset()


async def reset_in_the_body(exchange: Exchange) -> None:
    """Resets the connection in the middle of the body."""
    await exchange.send(headers_of(content_length="1000") + b'[{"id_sms": ')
    # A reset takes back what was sent a moment before, so the start of the body needs time to be read.
    await asyncio.sleep(0.02)
    exchange.reset()


async def close_before_the_reply(exchange: Exchange) -> None:
    """Closes the connection in place of a reply."""
    exchange.close()


async def truncate(exchange: Exchange) -> None:
    """Closes in the middle of a body of announced length."""
    await exchange.send(headers_of(content_length="1000") + b"[]")
    exchange.close()


async def truncate_chunks(exchange: Exchange) -> None:
    """Closes in the middle of a chunked body, after what would be a whole answer."""
    body = json.dumps([entry(id_) for id_ in exchange.request.ids]).encode()
    await exchange.send(headers_of(transfer_encoding="chunked") + f"{len(body):x}\r\n".encode() + body + b"\r\n")
    exchange.close()


async def close_after_the_reply(exchange: Exchange) -> None:
    """Answers, and closes the connection that it did not say it would close."""
    await well(exchange)
    exchange.close()


async def close_when_used_again(exchange: Exchange) -> None:
    """Answers the first request of a connection, and closes it when a second one comes."""
    if exchange.on_connection > 0:
        exchange.close()
    else:
        await well(exchange)


async def speak_another_protocol(exchange: Exchange) -> None:
    """Greets like a mail server."""
    await exchange.send(b"220 mail.example ESMTP ready\r\n\r\n")
    exchange.close()


async def endless_headers(exchange: Exchange) -> None:
    """Sends header lines for ever."""
    await exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.send(b"X-More: and more\r\n" * 1000)


async def endless_body(exchange: Exchange) -> None:
    """Sends a body without end, as fast as it can."""
    await exchange.send(headers_of())
    while True:
        await exchange.send(b" " * 65536)


def endless_body_with(status: int) -> Behaviour:
    """Sends a body without end under a status."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(headers_of(status))
        while True:
            await exchange.send(b" " * 65536)

    return behave


async def endless_compressed_body(exchange: Exchange) -> None:
    """Sends a whole compressed body, and then bytes without end behind it."""
    await exchange.send(headers_of(content_encoding="gzip") + gzip.compress(b"[]"))
    while True:
        await exchange.send(b"\0" * 65536)


async def gzip_bomb(exchange: Exchange) -> None:
    """Sends 256 MiB of spaces, compressed to a quarter of one."""
    await exchange.reply(bomb(), content_encoding="gzip")


@cache
def bomb() -> bytes:
    """256 MiB of spaces in gzip's format: one MiB is compressed, and its block, which refers to no other, repeated."""
    mebibyte = b" " * 2**20
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(mebibyte) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 0
    for _ in range(256):
        checksum = zlib.crc32(mebibyte, checksum)
    head, end_of_blocks = b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x03\0"
    return head + block * 256 + end_of_blocks + struct.pack("<II", checksum, 256 * 2**20)


def fills_8_mib(piece: bytes) -> Behaviour:
    """An array of almost 8 MiB made of one piece: legal JSON, and costly to whoever parses it."""
    body = b"[" + (piece + b",") * ((8 * 2**20 - 100) // (len(piece) + 1)) + piece + b"]"
    return replies(body)


def replies(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Always the same reply."""

    async def behave(exchange: Exchange) -> None:
        await exchange.reply(body, status, **headers)

    return behave


def well_but(**headers: str) -> Behaviour:
    """Knows every id, and has these headers besides."""

    async def behave(exchange: Exchange) -> None:
        body = json.dumps([entry(id_) for id_ in exchange.request.ids]).encode()
        await exchange.reply(body, 200, **headers)

    return behave


def refuses(text: str, status: int = 400) -> Behaviour:
    """Refuses every request with a text."""

    async def behave(exchange: Exchange) -> None:
        await exchange.reply_json({"error": text}, status)

    return behave


async def echo_the_request(exchange: Exchange) -> None:
    """Refuses, and shows the account's secret in the text."""
    await exchange.refuse(f"cannot read: {exchange.request.body.decode()} (token {TOKEN})")


def poisoned(*ids: int, text: str = "Incorrect JSON document format") -> Behaviour:
    """Refuses whole every array that holds one of the ids."""

    async def behave(exchange: Exchange) -> None:
        if set(ids) & set(exchange.request.ids):
            await exchange.refuse(text)
        else:
            await well(exchange)

    return behave


def empties(*ids: int, body: bytes = b"") -> Behaviour:
    """Answers with nothing where an array holds one of the ids."""

    async def behave(exchange: Exchange) -> None:
        if set(ids) & set(exchange.request.ids):
            await exchange.reply(body)
        else:
            await well(exchange)

    return behave


def says(text: str, *ids: int) -> Behaviour:
    """Has a text in place of the state for these ids, and knows all others."""

    async def behave(exchange: Exchange) -> None:
        told = {"time_change_state": "", "state": text, "num_parts": 0, "price": 0}
        await exchange.reply_json([entry(id_) | (told if id_ in ids else {}) for id_ in exchange.request.ids])

    return behave


def says_of_each(text: str) -> Behaviour:
    """Has a text in place of every state."""

    async def behave(exchange: Exchange) -> None:
        await exchange.reply_json([entry(id_) | {"state": text} for id_ in exchange.request.ids])

    return behave


def knows_all_but(unknown: Collection[int], first: int = 1000) -> Behaviour:
    """Leaves unknown ids out of the reply, and everything behind the ``first`` entries of an array."""

    async def behave(exchange: Exchange) -> None:
        await exchange.reply_json([entry(id_) for id_ in exchange.request.ids[:first] if id_ not in unknown])

    return behave


def after(requests: int, bad: Behaviour, then: Behaviour = well) -> Behaviour:
    """Behaves badly for some requests, and then differently."""

    async def behave(exchange: Exchange) -> None:
        await (bad if exchange.number < requests else then)(exchange)

    return behave


def slow(seconds: float) -> Behaviour:
    """Knows every id, and takes its time."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await well(exchange)

    return behave
