"""The states of a message, the record that travels from the platform to the caller, and the rule that merges two.

The words, their meaning and their finality are the platform's (``docs/upstream.md``, "Reply"); the outcome is ours.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from app.lookup.failures import AboutOneMessage, LookupFailure

MAX_MESSAGE_ID = 2**53 - 1
"""The largest integer that JavaScript holds exactly; callers are frontends."""


class Outcome(StrEnum):
    """What a user interface branches on; a closed set, whatever words the platform invents."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class State:
    """One word of the platform.

    ``final``: the platform documents that the state never changes again. ``rank``: the order in which the
    states of one message follow each other, for reports that carry no time.
    """

    outcome: Outcome
    final: bool
    rank: int
    meaning: str


STATES: dict[str, State] = {
    "send": State(Outcome.PENDING, False, 1, "Handed over; no status received yet, so there is no time either."),
    "partly_deliver": State(Outcome.PENDING, False, 2, "Sent, but the status was not received."),
    # Not documented as final: it can still become "read".
    "deliver": State(Outcome.DELIVERED, False, 3, "Delivered."),
    "read": State(Outcome.DELIVERED, True, 4, "Read."),
    "not_deliver": State(Outcome.FAILED, True, 4, "Not delivered."),
    "expired": State(Outcome.FAILED, True, 4, "The subscriber was out of reach at every attempt."),
}

SMPP_WORDS: dict[str, str] = {
    "delivrd": "deliver",
    "undeliv": "not_deliver",
    "rejectd": "not_deliver",
    "reject": "not_deliver",
    "deleted": "not_deliver",
    "expired": "expired",
    "enroute": "send",
    "acceptd": "send",
    "new": "send",
}
"""The words of SMPP's delivery receipts, which the platform was seen to use as well, and the documented ones."""

_WORD = re.compile(r"[A-Za-z0-9_-]{1,100}")
_DOCUMENTED = {word: word for word in STATES} | SMPP_WORDS

# A word that the documentation does not have: shown as it is, never final, ordered before every known one.
UNDOCUMENTED = State(Outcome.UNKNOWN, False, 0, "A state that the platform's documentation does not describe.")


def is_word(state: str) -> bool:
    """Whether a text is a state's word. Anything else in the place of a state is a sentence about its message."""
    return _WORD.fullmatch(state) is not None


def documented(word: str) -> str | None:
    """The documented word that a word of the platform stands for, in whatever case; None for a new one."""
    return _DOCUMENTED.get(word.lower())


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """What the platform said about one message.

    ``changed_at`` is aware (the account's time zone) or None; ``price_per_part`` keeps the platform's own digits.
    ``detailed`` tells whether parts and price were asked for; without it both are None and mean nothing.
    """

    id: int
    state: str
    changed_at: datetime | None = None
    parts: int | None = None
    price_per_part: str | None = None
    detailed: bool = False

    @property
    def meaning(self) -> State:
        """The row of the table for this record's word."""
        return STATES.get(self.state, UNDOCUMENTED)


Answer = MessageRecord | LookupFailure
"""What a lookup of one id ends with. A failure is an answer like any other."""

Cacheable = MessageRecord | AboutOneMessage
"""The answers that are kept."""


def serves(answer: Cacheable, detail: bool) -> bool:
    """Whether an answer has what is wanted."""
    return not detail or isinstance(answer, AboutOneMessage) or answer.detailed


def merge(new: Cacheable, old: Cacheable | None, *, in_order: bool) -> Cacheable:
    """What is known of a message after two reports of it.

    ``in_order``: ``new`` answers a later question than ``old``, so it counts. Otherwise nobody knows which of the two
    is the later one (webhooks, other replicas, two entries of one reply): the later time counts and, where a time
    is missing or both are the same, the order of the states.

    Either way the first final state stays. Parts and price are kept while the state stays the same, and where nobody
    knows the order also beside another state: a report without them does not erase what is known. The script in
    ``cache/redis_values.py`` is this rule for replies, run by the Redis server.
    """
    if not isinstance(old, MessageRecord):
        return new
    if not isinstance(new, MessageRecord):
        return old if old.meaning.final else new
    stays = old.meaning.final and (new.state != old.state or not in_order)
    if not in_order and not stays:
        stays = not _follows(new, old)
    kept, other = (old, new) if stays else (new, old)
    if other.detailed and not kept.detailed and _may_carry(other, kept, stays, in_order):
        kept = replace(kept, parts=other.parts, price_per_part=other.price_per_part, detailed=True)
    return kept


def _follows(new: MessageRecord, old: MessageRecord) -> bool:
    if new.meaning.final:
        return True
    if new.changed_at is not None and old.changed_at is not None and new.changed_at != old.changed_at:
        return new.changed_at > old.changed_at
    return new.meaning.rank >= old.meaning.rank


def _may_carry(other: MessageRecord, kept: MessageRecord, stays: bool, in_order: bool) -> bool:
    """Whether the parts and the price of ``other`` are those of ``kept``."""
    if in_order:
        return stays or kept.state == other.state
    # An unknown price must not pass for one that was asked for.
    return other.parts is not None and other.price_per_part is not None
