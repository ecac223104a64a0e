"""What the engine needs of a cache, and what is kept in one."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from app.lookup.failures import AboutOneMessage
from app.lookup.record import Cacheable, Outcome


class Cached(NamedTuple):
    """An answer and the monotonic second of the platform's reply."""

    answer: Cacheable
    replied_at: float


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long an answer is good for, in seconds, by its kind."""

    pending: float
    delivered: float
    final: float
    not_found: float

    def of(self, answer: Cacheable) -> float:
        """The lifetime of one answer. An undocumented state may be on its way to another: it counts as pending."""
        if isinstance(answer, AboutOneMessage):
            return self.not_found
        state = answer.meaning
        if state.final:
            return self.final
        return self.delivered if state.outcome is Outcome.DELIVERED else self.pending


class Cache(Protocol):
    """A store of answers that forgets what is too old."""

    async def get_many(self, ids: Collection[int], detail: bool = False) -> dict[int, Cached]:
        """What is known and still good, for those ids of which something is.

        ``detail``: whether it is wanted, for a cache that can look for it in a second place. What comes back may
        still be without it.
        """

    def at_hand(self, id_: int, detail: bool) -> Cached | None:
        """What this process itself knows of one id with what is wanted, and is still good."""

    def count_hit(self) -> None:
        """Somebody was answered with what was at hand."""

    def put(self, id_: int, answer: Cacheable) -> Cacheable:
        """Keep an answer that the platform gave just now. Returns the one that counts from now on."""

    async def aclose(self) -> None:
        """Let go of everything that was opened."""
