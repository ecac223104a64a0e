"""The states of a message, and the record that travels from the platform to the caller.

The words, their meaning and their finality are the platform's (``docs/upstream.md``, "Reply"); the outcome is ours.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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

# A word that the documentation does not have: shown as it is, never final, ordered before every known one.
UNDOCUMENTED = State(Outcome.UNKNOWN, False, 0, "A state that the platform's documentation does not describe.")


def is_word(state: str) -> bool:
    """Whether a text is a state's word. Anything else in the place of a state is a sentence about its message."""
    return _WORD.fullmatch(state) is not None


def documented(word: str) -> str | None:
    """The documented word that a word of the platform stands for, in whatever case; None for a new one."""
    lower = word.lower()
    return lower if lower in STATES else SMPP_WORDS.get(lower)


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


def supersedes(new: MessageRecord, old: MessageRecord) -> bool:
    """Whether ``new`` tells more recent news of a message than ``old``.

    A final report wins, and the first final one stays; else the later time; where a time is missing, or both are the
    same second, the order of the states decides. Equal reports supersede each other: the fresher copy is as true.
    """
    if old.meaning.final:
        return new.state == old.state
    if new.meaning.final:
        return True
    if new.changed_at is not None and old.changed_at is not None and new.changed_at != old.changed_at:
        return new.changed_at > old.changed_at
    return new.meaning.rank >= old.meaning.rank
