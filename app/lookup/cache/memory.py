"""The cache of one process: the least recently used answer goes first."""

from collections import OrderedDict
from collections.abc import Collection

from app.lookup.cache.protocol import Cacheable, Cached, Lifetimes, settled
from app.lookup.resilience import Clock


class MemoryCache:
    """At most ``max_entries`` answers, each as long as its kind lives."""

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

    async def get_many(self, ids: Collection[int]) -> dict[int, Cached]:
        """What is known and still good."""
        found = {}
        for id_ in ids:
            cached = self.get(id_)
            if cached is not None:
                found[id_] = cached
        return found

    def put(self, id_: int, answer: Cacheable) -> Cacheable:
        """Keep an answer; the oldest unused one makes room."""
        old = self.get(id_)
        kept = settled(answer, old.answer if old else None)
        if self._lifetimes.of(kept) <= 0:
            self._entries.pop(id_, None)
            return kept
        self._entries[id_] = Cached(kept, self._clock())
        self._entries.move_to_end(id_)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evictions += 1
        return kept

    async def aclose(self) -> None:
        """Nothing was opened."""
