"""Blast radius one: a refused batch is halved until each id that spoils it stands alone."""

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping

from app.lookup.failures import LookupFailure, NotAsked
from app.lookup.flight import Flight
from app.lookup.guard import Guard
from app.lookup.platform import Answer

Settle = Callable[[int, Answer], int]
"""Takes the answer of one id. Returns how many callers waited for nothing else."""
Accept = Callable[[Mapping[int, bool], Mapping[int, Answer], Settle], Awaitable[list[int]]]


class Search:
    """One hunt for the culprits of a refused batch.

    ``accept`` settles what a reply answers and returns the ids that it leaves out. ``blame`` is told of the ids that
    were refused alone, as soon as another part was accepted, and at the latest at the end; of none where the hunt is
    given up because nothing at all is accepted.
    """

    def __init__(
        self,
        guard: Guard,
        asked: Mapping[int, bool],
        flight: Flight,
        settle: Settle,
        accept: Accept,
        *,
        blame: Callable[[Iterable[int]], None],
    ) -> None:
        self._accept = accept
        self._blame = blame
        self._guard = guard
        self._asked = asked
        self._flight = flight
        self._settle = settle
        self._parts = _halves(list(asked))
        self._requests = 1
        self._accepted = False
        # Why nothing more can be asked: the way to the platform is shut, or the time is over.
        self._shut: LookupFailure | None = None
        self._refused_alone: list[int] = []

    async def run(self, refusal: LookupFailure) -> list[int]:
        """Halve, largest part first. Returns the ids that accepted parts leave out; the others are settled."""
        missing: list[int] = []
        # Where everything is refused, no id is to blame, and looking for one would cost 2n requests.
        limit = math.floor(2 * math.log2(len(self._asked)) + 2)
        given_up = False
        while self._parts and self._shut is None:
            if not self._accepted and self._requests >= limit and not await self._anything_is_accepted():
                given_up = self._shut is None
                break
            if self._parts:
                part = max(self._parts, key=len)
                self._parts.remove(part)
                missing += await self._ask(part)
        if given_up:
            self._guard.circuit.count(failed=True)
        else:
            self._blame(self._refused_alone)
        for part in self._parts:
            settle_all(part, self._shut or refusal, self._settle)
        return missing

    async def _ask(self, part: list[int]) -> list[int]:
        asked = {id_: self._asked[id_] for id_ in part}
        self._requests += 1
        try:
            answers = await self._guard.ask(asked, self._flight, retry=False, suspected=True)
        except LookupFailure as failure:
            if failure.splits and len(part) > 1:
                self._parts += _halves(part)
                return []
            if failure.splits:
                self._refused_alone += part
                self._blame_at_once()
            else:
                self._shut = self._guard.refusal() or (failure if isinstance(failure, NotAsked) else None)
            return settle_all(part, failure, self._settle)
        self._accepted = True
        self._blame_at_once()
        return await self._accept(asked, answers, self._settle)

    def _blame_at_once(self) -> None:
        """Whoever has its answer may ask again before the hunt is over, and must not spoil another batch."""
        if self._accepted:
            self._blame(self._refused_alone)
            self._refused_alone.clear()

    async def _anything_is_accepted(self) -> bool:
        """Ask an id of a part not asked yet alone, and where it is refused one of another part."""
        for part in (self._parts[0], self._parts[-1]):
            if part and not self._accepted and self._shut is None:
                await self._ask([part.pop(len(part) // 2)])
        self._parts = [part for part in self._parts if part]
        return self._accepted


def _halves(ids: list[int]) -> list[list[int]]:
    middle = len(ids) // 2
    return [half for half in (ids[:middle], ids[middle:]) if half]


def settle_all(ids: Iterable[int], answer: Answer, settle: Settle) -> list[int]:
    """Give several ids the same answer. Returns an empty list: nothing is left to ask.

    A failure that was raised on its way here becomes a value.
    """
    if isinstance(answer, LookupFailure):
        answer.as_value()
    for id_ in list(ids):
        settle(id_, answer)
    return []
