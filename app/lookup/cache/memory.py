"""The cache of one process: the least recently used answer goes first."""

from collections import OrderedDict
from collections.abc import Collection

from app.lookup.cache.base import Cached, Lifetimes
from app.lookup.policy import Clock
from app.lookup.record import Cacheable, merge, serves


class MemoryCache:
    """At most ``max_entries`` answers, each as long as its kind lives. ``evictions`` counts those that made room."""

    def __init__(self, clock: Clock, lifetimes: Lifetimes, *, max_entries: int) -> None:
        self._clock = clock
        self._lifetimes = lifetimes
        self._max_entries = max_entries
        self._entries: OrderedDict[int, Cached] = OrderedDict()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: int) -> Cached | None:
        """What is known of one id and still good."""
        cached = self._entries.get(id_)
        if cached is None:
            return None
        if self._clock() - cached.replied_at >= self._lifetimes.of(cached.answer):
            del self._entries[id_]
            return None
        self._entries.move_to_end(id_)
        return cached

    async def get_many(self, ids: Collection[int], detail: bool = False) -> dict[int, Cached]:
        """What is known and still good."""
        del detail
        found = {}
        for id_ in ids:
            cached = self.get(id_)
            if cached is not None:
                found[id_] = cached
        return found

    def at_hand(self, id_: int, detail: bool) -> Cached | None:
        """What is known of one id with what is wanted, and still good."""
        cached = self.get(id_)
        return cached if cached is not None and serves(cached.answer, detail) else None

    def count_hit(self) -> None:
        """Hits are counted where there are two levels."""

    def put(self, id_: int, answer: Cacheable) -> Cacheable:
        """Keep an answer; the oldest unused one makes room."""
        return self.adopt(id_, Cached(answer, self._clock()))

    def adopt(self, id_: int, told: Cached) -> Cacheable:
        """Keep an answer that the platform gave some time ago, to another replica: the later reply counts as new."""
        old = self.get(id_)  # which makes it the most recently used
        if old is not None and old.replied_at > told.replied_at:
            old, told = told, old
        kept = merge(told.answer, old.answer if old else None, in_order=True)
        if self._clock() - told.replied_at >= self._lifetimes.of(kept):
            self._entries.pop(id_, None)
            return kept
        self._entries[id_] = Cached(kept, told.replied_at)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evictions += 1
        return kept

    async def aclose(self) -> None:
        """Nothing was opened."""
