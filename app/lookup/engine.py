"""The lookup: cache, then batcher."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from app.lookup.batcher import Batcher
from app.lookup.cache.protocol import Cache, Cacheable, Cached, Lifetimes, serves
from app.lookup.failures import AboutOneMessage, LookupFailure
from app.lookup.guard import Guard
from app.lookup.isolation import Isolation
from app.lookup.platform import Answer, Platform
from app.lookup.resilience import Clock, Latch
from app.lookup.states import MessageRecord, supersedes
from app.lookup.waiting import Source


class Found(NamedTuple):
    """An answer, how old it is and how long its kind is good for (both in seconds), and where it came from."""

    answer: Answer
    age: float
    lifetime: float
    source: Source


class Engine:
    """Answers for any number of ids, with as few upstream requests as possible.

    ``deadline``: seconds in which each caller has its answer. ``longest_lockout``: seconds for which rejected
    credentials stay here at most. ``lookups`` and ``failures`` count ids, by source and by problem.
    """

    def __init__(
        self,
        platform: Platform,
        cache: Cache,
        clock: Clock,
        lifetimes: Lifetimes,
        *,
        batch_size: int,
        max_in_flight: int,
        attempt_timeout: float,
        deadline: float,
        max_queued: int,
        longest_lockout: float = Latch.LONGEST,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._lifetimes = lifetimes
        self.lookups: Counter[Source] = Counter()
        self.failures: Counter[str] = Counter()
        # Called with every answer of the platform, and with every state that it reports by itself.
        self.on_news: Callable[[int, Answer], None] = lambda _id, _answer: None
        self.guard = Guard(platform, clock, attempt_timeout=attempt_timeout, longest_lockout=longest_lockout)
        self.isolation = Isolation(self.guard, clock, batch_size=batch_size)
        self.batcher = Batcher(
            self.guard,
            self.isolation,
            clock,
            slots=max_in_flight,
            deadline=deadline,
            max_queued=max_queued,
            remember=self._remember,
        )

    async def lookup(
        self,
        ids: Iterable[int],
        detail: bool,
        *,
        fresh: bool = False,
        on_found: Callable[[int, Found], None] = lambda _id, _found: None,
    ) -> dict[int, Found]:
        """An answer for each distinct id, in the order asked. Never raises LookupFailure: failures are answers.

        ``fresh`` asks the platform anew, except for final states that are known with the detail asked for. ``on_found``
        is called with each answer as soon as it is there, while the platform may still work on the others.
        """
        distinct = list(dict.fromkeys(ids))
        cached = await self._cache.get_many(distinct, detail)
        now = self._clock()
        found: dict[int, Found] = {}
        missing: list[int] = []

        def take(id_: int, answer: Answer, source: Source, age: float = 0.0) -> None:
            self.lookups[source] += 1
            if isinstance(answer, LookupFailure):
                self.failures[answer.slug] += 1
            lifetime = self._lifetimes.of(answer) if isinstance(answer, Cacheable) else 0.0
            each = found[id_] = Found(answer, age, lifetime, source)
            on_found(id_, each)

        for id_ in distinct:
            known = cached.get(id_)
            if known is None or not _serves(known, detail, fresh):
                missing.append(id_)
            else:
                take(id_, known.answer, Source.CACHE, now - known.replied_at)
        if missing:
            await self.batcher.ask(missing, detail, take)
        return found if not missing or len(distinct) == 1 else {id_: found[id_] for id_ in distinct}

    def credentials_changed(self) -> None:
        """The secrets of the platform's account are others: they deserve a try, whatever the old ones met with."""
        self.guard.credentials_changed()
        self.isolation.forget_controls()

    async def hear(self, reports: Sequence[MessageRecord]) -> None:
        """Take what the platform reports by itself: late, twice, in any order, and without parts and price.

        The first final report stays; else ``supersedes`` decides. Parts and price known before are kept.
        """
        cached = await self._cache.get_many({report.id for report in reports})
        known = {id_: each.answer for id_, each in cached.items()}
        for report in reports:
            old = known.get(report.id)
            news = report
            if isinstance(old, MessageRecord):
                if old.meaning.final or not supersedes(report, old):
                    continue
                if old.parts is not None and old.price_per_part is not None:
                    news = replace(report, parts=old.parts, price_per_part=old.price_per_part, detailed=True)
            kept = known[report.id] = self._cache.put(report.id, news)
            self.on_news(report.id, kept)

    def _remember(self, id_: int, answer: Answer) -> Answer:
        """Every answer of the platform passes here, before anybody gets it."""
        if isinstance(answer, Cacheable):
            answer = self._cache.put(id_, answer)
        self.on_news(id_, answer)
        return answer


def _serves(known: Cached, detail: bool, fresh: bool) -> bool:
    if fresh and (isinstance(known.answer, AboutOneMessage) or not known.answer.meaning.final):
        return False
    return serves(known.answer, detail)
