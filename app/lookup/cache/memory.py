"""The cache of one process: the least recently used answer goes first."""

from collections import OrderedDict
from collections.abc import Collection

from app.lookup.clock import Clock
from app.lookup.lifetimes import Cached, Lifetimes, stays
from app.lookup.record import Cacheable, MessageRecord, merge


class MemoryCache:
    """At most ``max_entries`` answers, each as long as it is good for, and some time more for the age of its state.

    ``evictions`` counts those that made room; ``saved`` counts lookups that would have been asked of the platform if
    lifetimes did not grow.
    """

    def __init__(self, clock: Clock, lifetimes: Lifetimes, *, max_entries: int) -> None:
        self._clock = clock
        self._lifetimes = lifetimes
        self._max_entries = max_entries
        self._entries: OrderedDict[int, Cached] = OrderedDict()
        self.evictions = 0
        self.saved = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: int) -> Cached | None:
        """An answer that is still good; counts as a use."""
        cached = self._entries.get(id_)
        if cached is None:
            return None
        now = self._clock()
        if now >= cached.replied_at + cached.ttl:
            self._remembered(id_, now)
            return None
        if now >= cached.due_at:
            self.saved += 1
            self._entries[id_] = cached._replace(due_at=min(now + cached.max_age, cached.replied_at + cached.ttl))
        self._entries.move_to_end(id_)
        return cached

    def peek(self, id_: int) -> Cached | None:
        """What is known of one id and still good."""
        now = self._clock()
        cached = self._remembered(id_, now)
        return cached if cached is not None and cached.is_good(now) else None

    def is_good(self, cached: Cached) -> bool:
        """Whether an answer may still be served."""
        return cached.is_good(self._clock())

    async def get_many(self, ids: Collection[int], detail: bool = False, *, as_use: bool = True) -> dict[int, Cached]:
        """What is known and still good."""
        del detail
        get = self.get if as_use else self.peek
        found = {}
        for id_ in ids:
            cached = get(id_)
            if cached is not None:
                found[id_] = cached
        return found

    def at_hand(self, id_: int, detail: bool) -> Cached | None:
        """The state of a message with what is wanted, where it is known and still good."""
        cached = self.get(id_)
        if cached is None or not isinstance(cached.answer, MessageRecord) or (detail and not cached.answer.detailed):
            return None
        return cached

    def put(self, id_: int, answer: Cacheable, *, reported: bool = False, replied_at: float | None = None) -> Cached:
        """Keep an answer; the oldest unused one makes room."""
        now = self._clock() if replied_at is None else replied_at
        old = self._remembered(id_, now)
        if old is None and not reported:
            return self._keep(id_, self._lifetimes.cached(answer, now, None), now)
        kept = merge(answer, old.answer if old is not None and old.is_good(now) else None, in_order=True)
        same = old is not None and not reported and stays(kept, old.answer)
        return self._keep(id_, self._lifetimes.cached(kept, now, old.since if old is not None and same else now), now)

    def adopt(self, id_: int, received: Cached) -> Cached:
        """Keep an answer that the platform gave some time ago, to another replica: the later reply counts as new."""
        now = self._clock()
        old = self._remembered(id_, now)
        if old is None:
            return self._keep(id_, self._lifetimes.cached(received.answer, received.replied_at, received.since), now)
        new, old = (old, received) if old.replied_at > received.replied_at else (received, old)
        kept = merge(new.answer, old.answer if old.is_good(now) else None, in_order=True)
        if stays(kept, old.answer):
            since = min(new.since, old.since)
        else:
            since = new.since if new is not received else max(new.since, old.replied_at)
        return self._keep(id_, self._lifetimes.cached(kept, new.replied_at, since), now)

    async def aclose(self) -> None:
        """Nothing was opened."""

    def _remembered(self, id_: int, now: float) -> Cached | None:
        """What is known of one id, perhaps no longer good; what is too old for that is forgotten."""
        cached = self._entries.get(id_)
        if cached is not None and now - cached.replied_at >= cached.kept:
            del self._entries[id_]
            return None
        return cached

    def _keep(self, id_: int, kept: Cached, now: float) -> Cached:
        if now - kept.replied_at >= kept.kept:
            self._entries.pop(id_, None)
            return kept
        self._entries[id_] = kept
        self._entries.move_to_end(id_)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evictions += 1
        return kept
