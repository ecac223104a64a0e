"""One connection to the platform: how much head it may send, and when it may be used again.

aiohttp limits single lines of a head but not a flood of interim replies, reads what comes beyond an announced body as
the reply to the next request, and lets nobody configure either. So this class takes the place of aiohttp's
``ResponseHandler``. It relies on the private ``BaseConnector._factory``, and on ``data_received``, ``feed_data`` (once
for each head), ``set_response_params`` (before each request), ``force_close``, ``_parser``, ``_exception``, and of the
body ``total_bytes``, ``is_eof`` and ``EMPTY_PAYLOAD``; ``tests/unit/upstream/test_connection.py`` fails when one of
them changes.
"""

import asyncio
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

MAX_HEAD_BYTES = 64 * 1024
"""For the head of a reply and all interim replies before it."""
MAX_INTERIM_REPLIES = 100
SLICE = 4096
"""Bytes of a head that are read before its size is looked at."""


class HeadTooLarge(aiohttp.ClientPayloadError):
    """The head of a reply is too large, or interim replies do not end."""


class PlatformConnection(ResponseHandler):
    """aiohttp's connection with a limit for heads, that is closed when more comes than was announced."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._begin()

    @classmethod
    def install(cls, connector: aiohttp.BaseConnector) -> None:
        """Make the connector use this class."""
        handler: type[ResponseHandler] = cls
        connector._factory = partial(handler, loop=asyncio.get_running_loop())

    def _begin(self) -> None:
        self._head_bytes = 0
        self._interim_replies = 0
        self._body: StreamReader | None = None
        self._length: int | None = None

    def set_response_params(self, **params: Any) -> None:
        """Start counting for the next reply."""
        self._begin()
        super().set_response_params(**params)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Note how the body of this head ends."""
        message, body = data
        if 100 <= message.code < 200 and message.code != 101:
            self._interim_replies += 1
        else:
            self._body = body
            length = message.headers.get("Content-Length", "")
            self._length = int(length) if length.isascii() and length.isdigit() else None
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        """Pass received bytes to the parser, within the limits. Empty ``data``: a pause of reading has ended."""
        if self._parser is None or not data:
            super().data_received(data)
            return
        while data:
            piece = data[: self._next_piece(data)]
            data = data[len(piece) :]
            # A message that ends must end with the last byte that there is: fed apart, it shows.
            for part in filter(None, (piece[:-1], piece[-1:])):
                if self._is_whole():
                    self._end()
                    return
                super().data_received(part)
                if self._exception is not None:
                    # aiohttp would leave whoever reads the body waiting for more of it.
                    if self._body is not None and not self._is_whole():
                        self._body.set_exception(aiohttp.ClientPayloadError("the body cannot be read"))
                    return
            if self._body is None and self._is_too_large(len(piece)):
                self.set_exception(HeadTooLarge("the head of the reply is too large"))
                self._end()
                return

    def _next_piece(self, data: bytes) -> int:
        """How many bytes to read at once: none behind the end of a message, where it can be known."""
        if self._body is not None and self._length is not None:
            return max(self._length - self._body.total_bytes, 1)
        # Heads and chunked bodies end with an empty line.
        end = data.find(b"\r\n\r\n") + 4
        limit = len(data) if self._body is not None else min(SLICE, MAX_HEAD_BYTES + 1 - self._head_bytes)
        return min(end, limit) if end >= 4 else limit

    def _is_too_large(self, received: int) -> bool:
        self._head_bytes += received
        return self._head_bytes > MAX_HEAD_BYTES or self._interim_replies > MAX_INTERIM_REPLIES

    def _is_whole(self) -> bool:
        return self._body is not None and (self._body is EMPTY_PAYLOAD or self._body.is_eof())

    def _end(self) -> None:
        """Close the connection; a reply that is complete stays valid."""
        self.force_close()
        if self.transport is not None:
            self.transport.close()
