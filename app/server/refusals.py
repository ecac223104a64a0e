"""Why a request is refused before the application has it: what the answer says, and which limit it was."""

from dataclasses import asdict, dataclass

from app.api.request_context import Refusal
from app.server.limits import Limits
from app.telemetry.metrics import Closed


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
