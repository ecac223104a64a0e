"""The cache of one process: the least recently used answer goes first.

A million answers are kept as flat tuples: a third less memory than the records themselves, and, since nothing in
them can be part of a cycle, nothing for the garbage collector to walk through.
"""

import sys
from collections import OrderedDict
from collections.abc import Collection
from datetime import datetime

from app.lookup.cache.protocol import Cacheable, Cached, Lifetimes, settled
from app.lookup.failures import KEPT, AboutOneMessage
from app.lookup.resilience import Clock
from app.lookup.states import MessageRecord

_Fields = tuple[float, str, datetime | None, int | None, str | None, bool]
"""Second of the reply, state, time, parts, price, whether detail was asked for."""
_Failure = tuple[float, str, str | None]
"""Second of the reply, slug, the platform's text."""


class MemoryCache:
    """At most ``max_entries`` answers, each as long as its kind lives."""

    def __init__(self, clock: Clock, lifetimes: Lifetimes, *, max_entries: int) -> None:
        self._clock = clock
        self._lifetimes = lifetimes
        self._max_entries = max_entries
        self._entries: OrderedDict[int, _Fields | _Failure] = OrderedDict()
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: int) -> Cached | None:
        """What is known of one id and still good."""
        fields = self._entries.get(id_)
        if fields is None:
            return None
        cached = _unpacked(id_, fields)
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

    def put(self, id_: int, answer: Cacheable) -> Cacheable:
        """Keep an answer; the oldest unused one makes room."""
        return self.adopt(id_, Cached(answer, self._clock()))

    def adopt(self, id_: int, news: Cached) -> Cacheable:
        """Keep an answer that the platform gave some time ago, to another replica: the fresher one counts as new."""
        old = self.get(id_)  # which makes it the most recently used
        if old is not None and old.replied_at > news.replied_at:
            old, news = news, old
        kept = settled(news.answer, old.answer if old else None)
        if self._clock() - news.replied_at >= self._lifetimes.of(kept):
            self._entries.pop(id_, None)
            return kept
        self._entries[id_] = _packed(kept, news.replied_at)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
            self.evictions += 1
        return kept

    async def aclose(self) -> None:
        """Nothing was opened."""


def _packed(answer: Cacheable, replied_at: float) -> _Fields | _Failure:
    if isinstance(answer, AboutOneMessage):
        return replied_at, answer.slug, answer.upstream_message
    # A few words and prices stand in most answers: each is kept once.
    price = None if answer.price_per_part is None else sys.intern(answer.price_per_part)
    return replied_at, sys.intern(answer.state), answer.changed_at, answer.parts, price, answer.detailed


def _unpacked(id_: int, fields: _Fields | _Failure) -> Cached:
    if len(fields) == 3:
        replied_at, slug, message = fields
        return Cached(KEPT[slug]("the platform said so a moment ago", upstream_message=message), replied_at)
    replied_at, state, changed_at, parts, price, detailed = fields
    return Cached(MessageRecord(id_, state, changed_at, parts, price, detailed), replied_at)
