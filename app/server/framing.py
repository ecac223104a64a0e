"""Where a message ends, and what its head says of that (RFC 9112, sections 3, 6 and 7). No input or output here."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.server import refusals
from app.server.refusals import Limits, Reason

BLANK_LINE = b"\r\n\r\n"
PIECE_BYTES = 16 * 1024
"""Of a chunked body at a time."""
CHUNK_BYTES = 12
"""What a chunk costs besides its data and extension: eight digits and two line ends."""
SPACE = 0x20
LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
_NOTED = LENGTHS | {b"host", b"expect"}

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+;=:\[\]-]*")
_CHUNKED = [b"chunked"]


@dataclass(slots=True, eq=False)
class Framing:
    """One message after the other: cuts the input where they may end, so that a parser never sees two at a time.

    A head, and a body in chunks, end at a blank line; a body with a length ends after so many bytes. The protocol tells
    what it finds: ``begin``, and the counts of a body's data and of its trailer's fields.
    """

    limits: Limits
    head_bytes: int = 0
    has_body: bool = False
    expects_100: bool = False
    plain_bytes: int = 0
    trailer_fields: int = 0
    # The last bytes, as long as they may be the beginning of a blank line.
    _tail: bytes = b""
    # A connection's requests name the same host.
    _known_host: bytes = b""
    _codings: Sequence[bytes] = ()
    _length: int = 0
    _wire_bytes: int = 0

    def begin(self, version: str, headers: Iterable[tuple[bytes, bytes]]) -> Reason | None:
        """A head is there: take from it how its body ends. Returns what is wrong with it, where something is.

        The names of the fields are in small letters.
        """
        self.head_bytes = 0
        self._codings = ()
        self._length = 0
        self._wire_bytes = 0
        self.plain_bytes = 0
        self.trailer_fields = 0
        self.expects_100 = False
        hosts, valid_host = 0, True
        for name, value in headers:
            if name not in _NOTED:
                continue
            value = value.strip(b" \t")  # noqa: PLW2901 - as it counts
            if name == b"host":
                hosts += 1
                if value != self._known_host:
                    valid_host = _HOST.fullmatch(value) is not None
                    self._known_host = value if valid_host else b""
            elif name == b"content-length":
                # Digits that fit into 64 bits, once: the parser has seen to that.
                self._length = int(value)
            elif name == b"transfer-encoding":
                self._codings = [*self._codings, value.lower()]
            else:
                self.expects_100 = self.expects_100 or value.lower() == b"100-continue"
        if version not in ("1.1", "1.0"):
            return refusals.VERSION
        # HTTP/1.0 has no Host; two are a mistake, or an attempt to be one host to a proxy and another one to us.
        if (hosts != 1 and (hosts or version == "1.1")) or not valid_host:
            return refusals.HOST
        if self._codings and (self._codings != _CHUNKED or version == "1.0"):
            return refusals.CODING
        self.has_body = bool(self._codings or self._length)
        return None

    @property
    def has_many_extras(self) -> bool:
        """Whether a body in chunks has more around its data than its trailer and extensions may have."""
        return (
            self._wire_bytes - self.plain_bytes > self.limits.head_bytes
            or self.trailer_fields > self.limits.head_fields
        )

    def head_end(self, data: bytes, at: int) -> int:
        """Where to stop in a head: behind a blank line or at its limit; ``at`` where that is reached."""
        end = self._cut(data, at, self.limits.head_bytes - self.head_bytes)
        self.head_bytes += end - at
        return end

    def body_end(self, data: bytes, at: int) -> int:
        """Where to stop in a body: at its end at the latest."""
        if self._codings:
            end = self._cut(data, at, PIECE_BYTES)
            self._wire_bytes += end - at
        else:
            end = min(len(data), at + self._length)
            self._length -= end - at
        return end

    def _cut(self, data: bytes, at: int, most: int) -> int:
        """Behind the next blank line, which may begin in the input before; else after ``most`` bytes."""
        if self._tail:
            found = (self._tail + data[at : at + 3]).find(BLANK_LINE)
            if found >= 0:
                end = at + found + len(BLANK_LINE) - len(self._tail)
                self._tail = b""
                return min(end, at + most)
        found = data.find(BLANK_LINE, at, at + most)
        if found >= 0:
            self._tail = b""
            return found + len(BLANK_LINE)
        end = min(len(data), at + most)
        self._tail = (self._tail + data[max(at, end - 3) : end])[-3:]
        return end
