"""How long an answer is trusted. The longer a state has lasted, the longer (the heuristic of RFC 9111, section 4.2.2).

An answer is good for a tenth of the age that its state had at the platform's reply, within the bounds of its kind. The
age counts from the time of the change that the platform gives or, without one, from when the state was first seen.
The wall clock is read once for a state, when nothing is known of the message; from then on the age grows with the
monotonic clock. So neither a wall clock that steps nor a platform whose clock is ahead can make it shrink.
"""

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

from app.lookup.clock import Clock
from app.lookup.failures import AboutOneMessage, LookupFailure
from app.lookup.record import Cacheable, MessageRecord, Outcome

GROWTH = 0.1
"""Of the age of a state. RFC 9111 names a tenth as typical."""


class Cached(NamedTuple):
    """An answer, and how long it is good for. Computed once for each reply, so that a hit only compares.

    ``replied_at``: the monotonic second of the platform's reply. ``since``: the one at which its state began, as far as
    known. ``ttl``: seconds after the reply in which it is served. ``max_age``: the same without growth, which callers
    see. ``due_at``: the second from which on it would be asked for again without growth; it moves on by ``max_age``
    with each lookup that comes later, up to the end; where nothing grows it never comes. ``kept``: seconds after the
    reply in which it stays stored: where lifetimes grow longer than ``ttl``, only to know the age of its state.
    """

    answer: Cacheable
    replied_at: float
    since: float
    ttl: float
    max_age: float
    due_at: float
    kept: float

    def is_good(self, now: float) -> bool:
        """Whether it may still be served."""
        return now < self.replied_at + self.ttl


Update = Cached | LookupFailure
"""What those who wait are told: an answer as it is kept, or a failure that is not kept."""


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long an answer is good for, in seconds, by its kind.

    ``pending_max`` and ``delivered_max``: what ``pending`` (also ``not_found``) and ``delivered`` grow to as a state
    lasts; None: no growth. A kind with 0 seconds is never kept. ``wall_clock``: seconds since 1970.
    """

    pending: float
    delivered: float
    final: float
    not_found: float
    pending_max: float | None = None
    delivered_max: float | None = None
    wall_clock: Clock = time.time

    def of(self, answer: Cacheable) -> float:
        """The lifetime of one answer without growth."""
        return self._bounds(answer)[0]

    def cached(self, answer: Cacheable, replied_at: float, since: float | None) -> Cached:
        """An answer with its lifetime. ``since`` is at most ``replied_at``; None where nothing else is known of it."""
        least, most = self._bounds(answer)
        if since is None:
            since = self.first_seen(answer, replied_at, replied_at) if most > least else replied_at
        ttl = min(max((replied_at - since) * GROWTH, least), most)
        if most > least:
            return Cached(answer, replied_at, since, ttl, least, replied_at + least, ttl + (self.pending_max or 0.0))
        # No number of its own beyond the time of the reply: most of what is in memory is final.
        return Cached(answer, replied_at, since, ttl, least, math.inf, ttl)

    def first_seen(self, answer: Cacheable, replied_at: float, now: float) -> float:
        """Since when an answer holds, of which nothing is known but itself: a monotonic second up to ``replied_at``."""
        if not isinstance(answer, MessageRecord) or answer.changed_at is None:
            return replied_at
        return min(replied_at, now - (self.wall_clock() - answer.changed_at.timestamp()))

    def _bounds(self, answer: Cacheable) -> tuple[float, float]:
        """The shortest and the longest lifetime. An undocumented state may be on its way to another: it is pending."""
        most: float | None
        if isinstance(answer, AboutOneMessage):
            least, most = self.not_found, self.pending_max
        elif (state := answer.meaning).final:
            least, most = self.final, None
        elif state.outcome is Outcome.DELIVERED:
            least, most = self.delivered, self.delivered_max
        else:
            least, most = self.pending, self.pending_max
        return least, max(most, least) if most and least else least


def stays(new: Cacheable, old: Cacheable) -> bool:
    """Whether two answers say the same state and the same time of its change; parts and price do not count."""
    if isinstance(new, MessageRecord) and isinstance(old, MessageRecord):
        return new.state == old.state and _second(new) == _second(old)
    if isinstance(new, MessageRecord) or isinstance(old, MessageRecord):
        return False
    return type(new) is type(old) and new.upstream_message == old.upstream_message


def _second(record: MessageRecord) -> float | None:
    # Not the times themselves: those of a repeated hour are never equal to those of another zone (PEP 495).
    return None if record.changed_at is None else record.changed_at.timestamp()
