"""Which callers have spoiled batches lately, so that their ids are kept apart from those of others.

A caller whose ids spoiled three batches within a minute is isolated until a minute has gone without one.
"""

import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable

from app.lookup.caller import Caller
from app.lookup.clock import Clock
from app.lookup.resolution import two_of_the_middle
from app.lookup.waiter import Entry

SPOILED_BATCHES = 3
SECONDS = 60.0
MAX_SUSPECTS = 10_000
"""Callers whose spoiled batches are remembered; addresses are without number."""

log = logging.getLogger(__name__)


class Isolation:
    """Remembers who spoils batches.

    ``callers``: who is isolated, by identity. ``spoiled_batches`` counts by the callers' labels.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spoiled_at: OrderedDict[str, deque[float]] = OrderedDict()
        self.callers: dict[str, Caller] = {}
        self.spoiled_batches: Counter[str] = Counter()

    def blame(self, caller: Caller) -> bool:
        """Count a spoiled batch for this caller. Returns whether it is isolated from now on."""
        now = self._clock()
        self.spoiled_batches[caller.label] += 1
        times = self._spoiled_at.setdefault(caller.identity, deque(maxlen=SPOILED_BATCHES))
        self._spoiled_at.move_to_end(caller.identity)
        times.append(now)
        if len(self._spoiled_at) > MAX_SUSPECTS:
            # Who is isolated has spoiled one within a minute; where ten thousand have, the oldest is let go early.
            self.callers.pop(self._spoiled_at.popitem(last=False)[0], None)
        if caller.identity in self.callers or len(times) < SPOILED_BATCHES or times[0] <= now - SECONDS:
            return False
        self.callers[caller.identity] = caller
        log.warning(
            "a caller is isolated: its ids spoiled %d batches within %g s, and share no request with those of others",
            SPOILED_BATCHES,
            SECONDS,
            extra={"fields": {"caller": caller.label}},
        )
        return True

    def release(self) -> list[Caller]:
        """End the isolation of those who have spoiled nothing for long enough. Returns them."""
        ended = [caller for caller in self.callers.values() if self._is_over(caller)]
        for caller in ended:
            del self.callers[caller.identity]
            log.info("a caller is no longer isolated", extra={"fields": {"caller": caller.label}})
        return ended

    def isolated(self) -> Counter[str]:
        """How many callers are isolated now, by their labels."""
        return Counter(caller.label for caller in list(self.callers.values()) if not self._is_over(caller))

    def _is_over(self, caller: Caller) -> bool:
        return self._spoiled_at[caller.identity][-1] <= self._clock() - SECONDS


def two_of_several_callers(entries: Iterable[Entry], parts: list[list[int]]) -> Collection[int]:
    """Choose one id not asked yet of each of the two callers with the fewest: if all ids of one are poison, the other's
    probably are not."""
    caller_of = {entry.id: next(iter(entry.askers)) for entry in entries}
    ids: dict[str, list[int]] = {}
    for part in parts:
        for id_ in part:
            ids.setdefault(caller_of[id_], []).append(id_)
    fewest = sorted(ids.values(), key=len)[:2]
    return two_of_the_middle(parts) if len(fewest) == 1 else [each[len(each) // 2] for each in fewest]
