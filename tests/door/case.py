"""What a case is: data, from which both the tests and a table of ``docs/faults.md`` are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.server.refusals import Limits

SHORT = Limits(
    head_seconds=0.2, body_seconds=0.4, idle_seconds=0.6, reply_seconds=0.4, linger_seconds=0.3, sweep_seconds=0.02
)
"""For the cases that wait for a time limit."""


class Answer(NamedTuple):
    """What a caller gets for a request: a status, and the problem's slug where it is one."""

    status: int
    slug: str | None = None

    def __str__(self) -> str:
        return f"{self.status} `{self.slug}`" if self.slug else str(self.status)


CONTINUE = Answer(100)
OK = Answer(200)
REDIRECT = Answer(307)
MALFORMED = Answer(400, "malformed-request")
TOO_SLOW = Answer(408, "request-timeout")
HEAD_TOO_LARGE = Answer(431, "request-head-too-large")
INVALID = Answer(422, "invalid-request")
NOT_FOUND = Answer(404, "route-not-found")
NO_METHOD = Answer(405, "method-not-allowed")
TOO_LARGE = Answer(413, "request-too-large")
UNAUTHENTICATED = Answer(401, "unauthenticated")


@dataclass(frozen=True)
class Case:
    """Bytes that a client sends, in packets, and what comes of them.

    ``answers`` in their order; ``stays``: whether the connection takes another request afterwards. ``methods``: those
    of the requests, where an answer's length depends on it. ``limits`` and ``settings``: where they are no defaults.
    """

    name: str
    packets: Sequence[bytes]
    answers: Sequence[Answer]
    stays: bool = False
    limits: Limits | None = None
    methods: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


def get(path: str = "/livez", *fields: str, version: str = "1.1", host: str | None = "service") -> bytes:
    """A request without a body."""
    return request("GET", path, *fields, version=version, host=host)


def request(
    method: str, path: str, *fields: str, version: str = "1.1", host: str | None = "service", body: bytes = b""
) -> bytes:
    """A request with these fields, and ``Host`` where there is one."""
    lines = [f"{method} {path} HTTP/{version}", *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


JSON = "Content-Type: application/json"
BATCH = b'{"ids":[82216]}'


def batch(*fields: str, body: bytes = BATCH) -> bytes:
    """A batch with a length."""
    return request("POST", "/messages/states", JSON, f"Content-Length: {len(body)}", *fields, body=body)


def chunked(*fields: str, body: bytes = BATCH, size: int = 5, extension: bytes = b"", trailer: bytes = b"") -> bytes:
    """A batch in chunks."""
    head = request("POST", "/messages/states", JSON, "Transfer-Encoding: chunked", *fields)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in pieces]
    return head + b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"


def split(data: bytes, *marks: bytes) -> list[bytes]:
    """The data in packets that end behind each of the marks, in their order."""
    packets, rest = [], data
    for mark in marks:
        before, _, rest = rest.partition(mark)
        packets.append(before + mark)
    return [*packets, rest] if rest else packets


def bytewise(data: bytes) -> list[bytes]:
    """Each byte in a packet of its own."""
    return [data[at : at + 1] for at in range(len(data))]
