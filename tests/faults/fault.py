"""What a fault is: data, from which both the tests and ``docs/faults.md`` are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tests.support.hostile import Behaviour


class Count(NamedTuple):
    """How many of something there may be, both ends included."""

    least: int
    most: int

    def __str__(self) -> str:
        if self.least == self.most:
            return str(self.least)
        return f"at most {self.most}" if self.least == 0 else f"{self.least} to {self.most}"


def exactly(number: int) -> Count:
    """This many."""
    return Count(number, number)


def at_most(number: int) -> Count:
    """This many or fewer."""
    return Count(0, number)


class Sees(NamedTuple):
    """What a caller gets for one id: a state, or a problem's slug; its status either way."""

    status: int
    slug: str | None = None

    def __str__(self) -> str:
        return f"{self.status} `{self.slug}`" if self.slug else "the state"


STATE = Sees(200)
NOT_FOUND = Sees(404, "message-not-found")
CREDENTIALS_REJECTED = Sees(502, "upstream-credentials-rejected")
REJECTED_REQUEST = Sees(502, "upstream-rejected-request")
REJECTED = Sees(502, "upstream-rejected")
ERROR = Sees(502, "upstream-error")
INVALID_REPLY = Sees(502, "upstream-invalid-reply")
UNREACHABLE = Sees(502, "upstream-unreachable")
ACCOUNT_LOCKED = Sees(503, "upstream-account-locked")
THROTTLED = Sees(503, "upstream-throttled")
UNAVAILABLE = Sees(503, "upstream-unavailable")
OVERLOADED = Sees(503, "overloaded")
TIMEOUT = Sees(504, "upstream-timeout")

SOON = 3.0
"""Seconds in which every caller has an answer where no more is said: a retry with its pause fits, on a busy machine."""

How = Literal[
    "one by one", "at once", "in one batch", "leaving before the answer", "at once, while as many others leave"
]


@dataclass(frozen=True)
class Step:
    """One thing that callers do, and what they see.

    ``sees``: how many of the ids get which answer; ``retry_after``: the header's value of every answer that has
    one. ``within``: seconds in which each caller has its answer, ``median`` those in which half of them have it.
    ``later``: seconds that pass before, on the service's clock. ``recovered``: from here on the platform behaves.
    """

    ids: Sequence[int]
    sees: Mapping[Sees, Count | int]
    how: How = "one by one"
    retry_after: Count | int | None = None
    within: float = SOON
    median: float | None = None
    later: float = 0.0
    recovered: bool = False


@dataclass(frozen=True)
class Fault:
    """A fault of the platform, and what must come of it.

    ``requests`` and ``connections``: how many reach the platform in all. ``settings`` differ from the defaults.
    ``url``: what the service is told in place of the platform's address. ``tls``: the platform speaks TLS, with a
    certificate that the service trusts or not. ``why``: what the log says of a failed request, or a part of it.
    """

    name: str
    behaviour: Behaviour
    steps: Sequence[Step]
    requests: Count | int
    connections: Count | int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    url: str | None = None
    tls: Literal["", "trusted", "untrusted"] = ""
    why: str = ""


def count(expected: Count | int) -> Count:
    """A plain number means exactly so many."""
    return expected if isinstance(expected, Count) else exactly(expected)


def one(sees: Sees, **more: Any) -> list[Step]:
    """A single caller asks for a single message."""
    return [Step([1], {sees: 1}, **more)]
