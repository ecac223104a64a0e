"""The problem catalogue: every error that a caller can get, as one table.

From it come the error responses, the OpenAPI document, the pages under ``/problems/`` and ``docs/errors.md``.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One row. ``detail`` is what a response says unless it knows better; ``retry_after`` whether it names a time."""

    slug: str
    status: int
    title: str
    detail: str
    cause: str
    caller: str
    operator: str
    retry_after: bool = False

    @property
    def type(self) -> str:
        """The problem type's URI reference, which resolves on this service (RFC 9457, section 3.1.1)."""
        return f"/problems/{self.slug}"

    @property
    def link(self) -> str:
        """The way to its page from ``/docs`` and ``/openapi.json``, under whatever prefix they are."""
        return self.type.removeprefix("/")


_ROWS = [
    ProblemType(
        "invalid-request", 422, "Invalid request",
        "The request cannot be understood; the list of errors says where.",
        "A bad id or query parameter; a body that is not JSON, has another content type, a wrong type or an unknown "
        "key; an empty list of ids or one of more than 1000.",
        "Correct the request as `errors` says. Asking again unchanged brings the same answer.",
        "Nothing, unless a frontend of yours sends it: then its version does not fit the interface.",
    ),
    ProblemType(
        "malformed-request", 400, "Malformed request",
        "The bytes are not a valid HTTP/1.1 request.",
        "The request breaks the rules of HTTP/1.1 (RFC 9110, RFC 9112): not exactly one `Host`, two lengths of the "
        "body, a transfer coding other than chunked, a character where none may be; or the bytes are another protocol, "
        "like TLS or HTTP/2.",
        "Use a maintained HTTP client. Check that the address begins with `http://` where no proxy ends TLS.",
        "If it comes from your own proxy: compare what it sends with its documentation. Otherwise somebody tries what "
        "a server does with odd bytes; nothing is left to do.",
    ),
    ProblemType(
        "request-timeout", 408, "Request timeout",
        "The request did not arrive in time.",
        "A head took more than 10 s from its first byte, or a body more than 30 s after its head.",
        "Send the request again, at once and as a whole.",
        "Many of them: a slow or lossy network in between, a proxy that passes bodies on as they come, or somebody who "
        "keeps connections busy on purpose.",
    ),
    ProblemType(
        "request-head-too-large", 431, "Request head too large",
        "The head of the request is larger than 64 KiB or has more than 100 fields.",
        "Request line and header fields together have more than 64 KiB, or there are more than 100 fields; the same "
        "limits hold for a body's trailer and chunk extensions.",
        "Send fewer and shorter header fields; large cookies are the usual cause.",
        "Nothing, unless a proxy of yours adds the fields.",
    ),
    ProblemType(
        "request-too-large", 413, "Request too large",
        "The body is larger than 1 MiB.",
        "The body of a batch is larger than 1 MiB; 1000 ids need less than 20 KiB.",
        "Send at most 1000 ids in a request, and nothing but ids.",
        "Nothing.",
    ),
    ProblemType(
        "route-not-found", 404, "No such path",
        "There is nothing at this path.",
        "The path is not one of this service's. A slash too many or too few makes another path; nothing redirects.",
        "Compare the path with the list at `/docs`.",
        "If it worked before: check the path rewriting of the ingress.",
    ),
    ProblemType(
        "method-not-allowed", 405, "Method not allowed",
        "The path exists, but not with this method; the Allow header lists those that it has.",
        "The path exists, but not with this method.",
        "Use a method of the `Allow` header: GET for one state, POST for a batch.",
        "Nothing.",
    ),
    ProblemType(
        "unauthenticated", 401, "Not authenticated",
        "A valid API key is needed, in X-API-Key or as a bearer token.",
        "This service asks its callers for a key, and the request has none, a wrong one, or two that differ.",
        "Send `X-API-Key: KEY` or `Authorization: Bearer KEY`. Ask the operator for a key.",
        "Check `API_KEYS`. This is about the caller's key; the platform's credentials have their own problem.",
    ),
    ProblemType(
        "rate-limited", 429, "Too many requests",
        "This caller asks for more ids than it may; wait as long as Retry-After says.",
        "The caller asked for more ids a second than `RATE_LIMIT` allows. Every id of a batch counts.",
        "Wait for the seconds of `Retry-After`. Ask for many messages in one batch, and wait or stream instead of "
        "polling.",
        "Find the caller in the log. Raise `RATE_LIMIT` if its need is real.",
        retry_after=True,
    ),
    ProblemType(
        "message-not-found", 404, "Message not found",
        "The platform does not know this message.",
        "The platform left the id out of its reply, answered it without a state, or said in a sentence that no message "
        "with this id was taken: it does not know the message, or the message belongs to another account.",
        "Check the id: it is the number that the platform returned when the message was sent. A message that was "
        "sent a moment ago may become known within seconds.",
        "If messages that exist are not found: check that the credentials belong to the account that sends.",
    ),
    ProblemType(
        "upstream-credentials-rejected", 502, "The platform rejects the service's credentials",
        "The platform rejected this service's login. The caller's own login is fine.",
        'The platform answered "Incorrect login or password" to this service, in this or another wording, or with '
        "status 401.",
        "Nothing is wrong with your request or key. Try again after `Retry-After`, and tell the operator.",
        "Correct `UPSTREAM_TOKEN`, or `UPSTREAM_LOGIN` and `UPSTREAM_PASSWORD`. Until then the service asks only "
        "now and then, so that the account is not locked.",
        retry_after=True,
    ),
    ProblemType(
        "upstream-account-locked", 503, "The platform has locked the account",
        "The platform has locked the account that this service uses.",
        'The platform answered "Your account is locked", in this or another wording.',
        "Try again after `Retry-After`, and tell the operator.",
        "Call the platform's manager: unpaid bills and repeated wrong passwords lock an account.",
        retry_after=True,
    ),
    ProblemType(
        "upstream-rejected-request", 502, "The platform cannot read the request",
        "The platform says that it cannot read this service's request.",
        'The platform answered "Incorrect JSON document format" or "POST data is missing" to a request that this '
        "service made.",
        "Try once more; if it stays with this id, tell the operator which id it is.",
        "Compare the platform's current documentation with `docs/upstream.md`. Check that `UPSTREAM_URL` is "
        "state.php and that nothing between changes the body.",
    ),
    ProblemType(
        "upstream-rejected", 502, "The platform refuses the request",
        "The platform refused the request; upstream_message is its reason, where it gave one.",
        "The platform answered with an error text that is not documented, for the request or for this one message; "
        "with status 400 and no readable text; or with nothing at all: an empty body, a blank one, or `null`.",
        "Read `upstream_message`. Try again later. Where it comes for one message of a batch alone, that message "
        "is the cause.",
        "Read `upstream_message` and ask the platform's support what it means. For one message alone, ask about that "
        "message.",
    ),
    ProblemType(
        "upstream-error", 502, "The platform failed",
        "The platform answered with an unexpected HTTP status.",
        "The platform answered with a redirect, a 5xx, or a 4xx that it does not document.",
        "Try again in a few seconds.",
        "For a 3xx or 404 check `UPSTREAM_URL`; for a 5xx look at the platform's own status.",
    ),
    ProblemType(
        "upstream-throttled", 503, "The platform throttles",
        "The platform asks for fewer requests; wait as long as Retry-After says.",
        "The platform answered 429 Too Many Requests, or said that it got the same request twice within a minute; then "
        "the messages of that request are not asked for again for 60 s.",
        "Wait for the seconds of `Retry-After`.",
        "Lower `UPSTREAM_MAX_IN_FLIGHT`, or the number of replicas; both multiply.",
        retry_after=True,
    ),
    ProblemType(
        "upstream-invalid-reply", 502, "The platform's reply cannot be read",
        "The platform's reply cannot be read.",
        "The reply is not JSON, not the documented shape or larger than 8 MiB; its head is larger than 64 KiB; or the "
        "entry of this one message has no readable id or state.",
        "Try again in a few seconds.",
        "An HTML page instead of JSON means maintenance or a wrong `UPSTREAM_URL`. For a single message, ask the "
        "platform's support.",
    ),
    ProblemType(
        "upstream-unreachable", 502, "The platform cannot be reached",
        "The connection to the platform failed.",
        "The platform's name does not resolve, or the connection was refused, reset, closed, cut short, or failed "
        "its TLS handshake.",
        "Try again in a few seconds.",
        "Check DNS, the network policy's way out, the host in `UPSTREAM_URL` and, for https, its certificate.",
    ),
    ProblemType(
        "upstream-timeout", 504, "The platform is too slow",
        "The platform did not answer in time.",
        "The platform did not answer within a time limit, or the request waited for its turn until its deadline.",
        "Try again in a few seconds.",
        "Look at the platform's latency. If it is slow but alive, raise `UPSTREAM_ATTEMPT_TIMEOUT` and "
        "`REQUEST_DEADLINE`.",
    ),
    ProblemType(
        "upstream-unavailable", 503, "The platform is unavailable",
        "The platform fails too often just now, so it was not asked; wait as long as Retry-After says.",
        "Half or more of the recent requests to the platform failed, so this service leaves it alone for some "
        "seconds.",
        "Wait for the seconds of `Retry-After`.",
        "Look for the failures that came before this in the log; they have the cause.",
        retry_after=True,
    ),
    ProblemType(
        "overloaded", 503, "Overloaded",
        "This replica cannot take the request just now.",
        "Too many ids are waiting for the platform already, too many messages are waited for (`MAX_WAITERS`, of which "
        "one caller has three quarters), or this replica is starting or stopping.",
        "Try again after `Retry-After`; another replica may answer at once.",
        "If it lasts: the platform is slower than the demand. See `UPSTREAM_MAX_IN_FLIGHT`, `UPSTREAM_BATCH_SIZE` "
        "and `MAX_QUEUED_IDS`.",
        retry_after=True,
    ),
    ProblemType(
        "internal-error", 500, "Internal error",
        "This service has a defect; the request id leads to the details in its log.",
        "A defect of this service.",
        "Tell the operator the `request_id`.",
        "Search the log for the `request_id`; the line has the traceback. Report it.",
    ),
]  # fmt: skip

CATALOGUE: dict[str, ProblemType] = {row.slug: row for row in _ROWS}

# What any route can answer, and what every route that asks the platform can.
COMMON = ("internal-error",)
LOOKUP = (
    "invalid-request",
    "unauthenticated",
    "rate-limited",
    "message-not-found",
    "upstream-credentials-rejected",
    "upstream-account-locked",
    "upstream-rejected-request",
    "upstream-rejected",
    "upstream-error",
    "upstream-throttled",
    "upstream-invalid-reply",
    "upstream-unreachable",
    "upstream-timeout",
    "upstream-unavailable",
    "overloaded",
)
