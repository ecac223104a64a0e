"""Every way in which a lookup can fail, and what follows from each.

The one place that says: is it retried, does the circuit breaker count it, does it split a batch, does it lock out and
for how long, which problem does the caller get, at which level is it logged. A failure is an answer like any other, so
the engine hands it on as a value; it is raised only on the way out of the upstream client, and by ``subscribe`` where
there is no room.

    LookupFailure
    ├── AboutOneMessage            said of this id alone: kept in the cache like an unknown id
    │   ├── MessageNotFound        the platform does not know this id; of a whole request: splits the batch
    │   ├── EntryRefused           any other error text of its entry (also an UnknownRefusal)
    │   └── EntryRejected          format or data missing, in its entry (also a RequestRejected)
    ├── RequestRefused             the platform read the request and refused it with an error text
    │   ├── CredentialsRejected    locks out: nothing is sent for a while, and who asks gets it again
    │   ├── AccountLocked          locks out, longer
    │   ├── RepeatedRequest        the same request twice within a minute: its ids are not asked again for one
    │   ├── RequestRejected        format or data missing: splits the batch
    │   └── UnknownRefusal         any other text, or a 400 without one: splits the batch
    │       └── EmptyReply         nothing at all instead of an array: splits; counted where it answers one id
    ├── Throttled                  429: nothing is sent until its time is over, and who asks gets it again
    ├── TransportFailure           no complete reply arrived
    │   ├── Unreachable            DNS, refused, reset, closed, truncated
    │   ├── TlsFailure             the same problem for the caller, but a retry cannot help
    │   └── TimedOut               the attempt's time limit
    ├── UnusableReply              a complete reply that does not help
    │   ├── ServerError            5xx
    │   ├── UnexpectedStatus       3xx, 4xx other than 400, 401 and 429
    │   └── InvalidReply           not JSON, wrong shape, too large, a malformed entry
    └── NotAsked                   this service did not ask, or no longer waits for the reply
        ├── DeadlinePassed         the caller's time was over before an answer came
        ├── CircuitOpen            the platform fails too often just now
        └── Overloaded             too many ids are waiting, or the service is stopping
"""

import logging
from typing import ClassVar, Self


class LookupFailure(Exception):
    """One lookup's failure.

    ``retry_after``: seconds after which asking again makes sense, None where no time can be named.
    ``upstream_message``: the platform's error text, cleaned and free of credentials, where there is one.
    ``wording``: by which wording, fragment or status of ``app/upstream/errors.py`` it was recognised, if by any.
    """

    slug: ClassVar[str] = "internal-error"
    """The problem type that the caller gets (``app/api/catalogue.py``)."""
    retried: ClassVar[bool] = False
    """Whether a second attempt is worth its cost."""
    counted: ClassVar[bool] = False
    """Whether the circuit breaker counts it as a failure of the platform."""
    counted_alone: ClassVar[bool] = False
    """Whether the circuit breaker counts it where it answers one id that is under no suspicion."""
    splits: ClassVar[bool] = False
    """Whether one poisoned entry may have caused it, so that a batch is halved to find that entry."""
    locks_out: ClassVar[bool] = False
    """Whether it is about the account: nothing is sent for as long as it ``lasts``."""
    lasts: ClassVar[float | None] = None
    """For how many seconds asking again brings the same, at least; None where that is not known."""
    definite: ClassVar[bool] = False
    """Whether it is an answer about the message rather than a failure to get one."""
    log_level: ClassVar[int] = logging.WARNING

    def __init__(
        self,
        why: str = "",
        *,
        retry_after: float | None = None,
        upstream_message: str | None = None,
        wording: str | None = None,
    ) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.upstream_message = upstream_message
        self.wording = wording

    @property
    def log_fields(self) -> dict[str, object]:
        """What a line of the log has of it: why, and the platform's text, where there is one."""
        text = {} if self.upstream_message is None else {"upstream_message": self.upstream_message}
        return {"why": str(self), **text}

    def ask_again_after(self, seconds: float) -> None:
        """Set ``retry_after``."""
        self.retry_after = seconds

    def as_value(self) -> Self:
        """The failure without its traceback and the errors before it, since their frames keep all that they hold."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self


class AboutOneMessage(LookupFailure):
    """What the platform said of one message by its id. The cache keeps it as long as an unknown id."""


class MessageNotFound(AboutOneMessage):
    """The id is missing from the reply, its entry has neither state nor error, or a text says that it is unknown."""

    slug = "message-not-found"
    definite = True
    splits = True
    log_level = logging.DEBUG


class RequestRefused(LookupFailure):
    """The platform understood the request well enough to refuse it with an error."""


class CredentialsRejected(RequestRefused):
    """ "Incorrect login or password", whatever the wording; or status 401."""

    slug = "upstream-credentials-rejected"
    locks_out = True
    lasts = 60.0
    log_level = logging.ERROR


class AccountLocked(RequestRefused):
    """ "Your account is locked", whatever the wording."""

    slug = "upstream-account-locked"
    locks_out = True
    lasts = 300.0
    log_level = logging.ERROR


class RepeatedRequest(RequestRefused):
    """The platform says that it got the same request twice within a minute."""

    slug = "upstream-throttled"
    lasts = 60.0


class RequestRejected(RequestRefused):
    """ "Incorrect JSON document format" or "POST data is missing"."""

    slug = "upstream-rejected-request"
    splits = True


class UnknownRefusal(RequestRefused):
    """An error text that nobody has seen yet, or a 400 without a readable one."""

    slug = "upstream-rejected"
    splits = True


class EmptyReply(UnknownRefusal):
    """An empty or blank body, or ``null``: one id of the request may be the cause."""

    counted_alone = True


class EntryRefused(AboutOneMessage, UnknownRefusal):
    """An error text in the entry of one id."""


class EntryRejected(AboutOneMessage, RequestRejected):
    """ "Incorrect JSON document format" or "POST data is missing" in the entry of one id."""


class Throttled(LookupFailure):
    """The platform answered 429."""

    slug = "upstream-throttled"


class TransportFailure(LookupFailure):
    """No complete reply arrived."""

    counted = True


class Unreachable(TransportFailure):
    """Name resolution, refused, reset, closed or truncated connection."""

    slug = "upstream-unreachable"
    retried = True


class TlsFailure(TransportFailure):
    """The TLS handshake failed; the next one will fail as well."""

    slug = "upstream-unreachable"
    log_level = logging.ERROR


class TimedOut(TransportFailure):
    """An attempt took longer than its limit."""

    slug = "upstream-timeout"
    retried = True


class UnusableReply(LookupFailure):
    """A complete reply that does not answer the question."""

    counted = True


class ServerError(UnusableReply):
    """A status of 500 or above."""

    slug = "upstream-error"
    retried = True


class UnexpectedStatus(UnusableReply):
    """A redirect, or a 4xx that is none of 400, 401 and 429."""

    slug = "upstream-error"


class InvalidReply(UnusableReply):
    """Not JSON, not the documented shape, too large; or one malformed entry, for its id alone."""

    slug = "upstream-invalid-reply"


class NotAsked(LookupFailure):
    """This service refused to ask, or gave up before the platform had answered."""

    log_level = logging.INFO


class DeadlinePassed(NotAsked):
    """The caller's deadline is over."""

    slug = "upstream-timeout"


class CircuitOpen(NotAsked):
    """Too many recent attempts failed; nothing is sent until the circuit breaker's pause is over."""

    slug = "upstream-unavailable"


class Overloaded(NotAsked):
    """The queue is full, or the service is stopping."""

    slug = "overloaded"
    log_level = logging.WARNING


CACHEABLE: dict[str, type[AboutOneMessage]] = {
    kind.slug: kind for kind in (MessageNotFound, EntryRefused, EntryRejected)
}
"""What a cache keeps of the failures, by slug."""
LOCKOUTS = [kind for kind in RequestRefused.__subclasses__() if kind.locks_out]
"""What locks out."""
