"""What the engine needs of a cache, and what is kept in one."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from app.lookup.failures import AboutOneMessage
from app.lookup.states import MessageRecord, Outcome

Cacheable = MessageRecord | AboutOneMessage


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

    def put(self, id_: int, answer: Cacheable) -> Cacheable:
        """Keep an answer that the platform gave just now. Returns the one that counts from now on."""

    async def aclose(self) -> None:
        """Let go of everything that was opened."""


def serves(answer: Cacheable, detail: bool) -> bool:
    """Whether an answer has what is wanted."""
    return not detail or isinstance(answer, AboutOneMessage) or answer.detailed


def settled(new: Cacheable, old: Cacheable | None) -> Cacheable:
    """What counts after a new answer to a question: a final state stays, whatever the platform says later.

    Parts and price of the new answer are taken over, since they may have been the reason to ask again; those that
    were known stay where the state is the same.
    """
    if not isinstance(old, MessageRecord):
        return new
    if old.meaning.final and (isinstance(new, AboutOneMessage) or new.state != old.state):
        if isinstance(new, MessageRecord) and new.detailed and not old.detailed:
            return replace(old, parts=new.parts, price_per_part=new.price_per_part, detailed=True)
        return old
    if isinstance(new, MessageRecord) and old.detailed and not new.detailed and old.state == new.state:
        return replace(new, parts=old.parts, price_per_part=old.price_per_part, detailed=True)
    return new
