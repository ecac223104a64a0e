"""The limits of every connection, and why a request is refused before the application has it."""

from dataclasses import asdict, dataclass

from app.api.request_context import Refusal
from app.telemetry.metrics import Closed

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every connection. Times are in seconds, sizes in bytes."""

    head_bytes: int = 64 * KIB
    """Of a request's head. The trailer and the chunk extensions of a body together may have as many."""
    head_fields: int = 100
    """Fields of a head, and of a trailer."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end."""
    body_seconds: float = 30.0
    """From the end of a head to the end of its body."""
    idle_seconds: float = 75.0
    """Without a byte between two requests. Longer than the 60 s of common ingresses, so that they close first and no
    request crosses our closing."""
    reply_seconds: float = 30.0
    """In which a caller takes nothing of a reply that is there for it."""
    linger_seconds: float = 1.0
    """In which input is read on, and thrown away, after an answer that was given before all of its request was read: a
    connection that is closed with unread input is reset, and the reset may overtake the answer."""
    linger_bytes: int = MIB
    """How much of it."""
    input_bytes: int = 64 * MIB
    """Input that is read and not answered yet, of all connections together."""
    stuck_seconds: float = 2.0
    """How long a connection may keep input without progress while there is no room for other connections' input."""
    sweep_seconds: float = 1.0
    """Between two looks at all connections: a time limit may be exceeded by this much."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A problem of the catalogue, the sentence that says what happened, and the limit that was passed, if it was one.

    The sentence may name fields of the limits in braces.
    """

    slug: str
    detail: str
    limit: Closed | None = None

    def refusal(self, limits: Limits) -> Refusal:
        """What the application answers."""
        return Refusal(self.slug, self.detail.format(**asdict(limits)))


MALFORMED = Reason("malformed-request", "The bytes are not a valid HTTP/1.1 request.")
VERSION = Reason("malformed-request", "The protocol is not HTTP/1.1 or HTTP/1.0.")
HOST = Reason("malformed-request", "The request does not have exactly one valid Host field.")
CODING = Reason("malformed-request", "The request has a transfer coding other than chunked, or one in HTTP/1.0.")

HEAD_BYTES = Reason("request-head-too-large", "The head of the request has more than {head_bytes} bytes.", "head-bytes")
HEAD_FIELDS = Reason(
    "request-head-too-large", "The head of the request has more than {head_fields} fields.", "head-fields"
)
EXTRAS = Reason(
    "request-head-too-large",
    "The trailer and the chunk extensions have more than {head_bytes} bytes or {head_fields} fields.",
    "trailer",
)
HEAD_TIME = Reason(
    "request-timeout", "The head of the request did not arrive within {head_seconds:g} s.", "head-seconds"
)
BODY_TIME = Reason(
    "request-timeout", "The body of the request did not arrive within {body_seconds:g} s.", "body-seconds"
)
NO_ROOM = Reason("overloaded", "This replica has no memory left for more input.", "input-bytes")
STOPPING = Reason("overloaded", "This replica is stopping, and the request was not complete.")
