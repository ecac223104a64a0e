"""The lookup: cache, then batcher."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from app.lookup.batcher import Batcher
from app.lookup.cache.protocol import Cache, Cached, Lifetimes, serves
from app.lookup.failures import LookupFailure, MessageNotFound
from app.lookup.guard import Guard
from app.lookup.isolation import Isolation
from app.lookup.platform import Answer, Platform
from app.lookup.resilience import Clock
from app.lookup.states import MessageRecord, supersedes
from app.lookup.waiting import Answers


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    JOINED = "joined"
    UPSTREAM = "upstream"
    REFUSED = "refused"
    """From nowhere: the platform was not asked."""


class Found(NamedTuple):
    """An answer, how old it is and how long its kind is good for (both in seconds), and where it came from."""

    answer: Answer
    age: float
    lifetime: float
    source: Source


class Engine:
    """Answers for any number of ids, with as few upstream requests as possible.

    ``deadline``: seconds in which each caller has its answer. ``lookups`` and ``failures`` count ids, by source and by
    problem.
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
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._lifetimes = lifetimes
        self.lookups: Counter[Source] = Counter()
        self.failures: Counter[str] = Counter()
        # Called with every answer of the platform, and with every state that it reports by itself.
        self.on_news: Callable[[int, Answer], None] = lambda _id, _answer: None
        self.guard = Guard(platform, clock, attempt_timeout=attempt_timeout)
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

    async def lookup(self, ids: Iterable[int], detail: bool, *, fresh: bool = False) -> dict[int, Found]:
        """An answer for each distinct id, in the order asked. Never raises LookupFailure: failures are answers.

        ``fresh`` asks the platform anew, except for final states that are known with the detail asked for.
        """
        distinct = list(dict.fromkeys(ids))
        cached = await self._cache.get_many(distinct, detail)
        now = self._clock()
        found: dict[int, Found] = {}
        missing: list[int] = []
        for id_ in distinct:
            known = cached.get(id_)
            if known is None or not _serves(known, detail, fresh):
                missing.append(id_)
            else:
                age = now - known.replied_at
                found[id_] = Found(known.answer, age, self._lifetimes.of(known.answer), Source.CACHE)
        if missing:
            answers = await self.batcher.ask(missing, detail)
            for id_ in missing:
                answer = answers[id_]
                found[id_] = Found(answer, 0.0, self._lifetime(answer), _source(id_, answers))
        self.lookups.update([each.source for each in found.values()])
        self.failures.update([each.answer.slug for each in found.values() if isinstance(each.answer, LookupFailure)])
        return found if len(missing) in (0, len(found)) else {id_: found[id_] for id_ in distinct}

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
        if isinstance(answer, MessageRecord | MessageNotFound):
            answer = self._cache.put(id_, answer)
        self.on_news(id_, answer)
        return answer

    def _lifetime(self, answer: Answer) -> float:
        return self._lifetimes.of(answer) if isinstance(answer, MessageRecord | MessageNotFound) else 0.0


def _source(id_: int, answers: Answers) -> Source:
    if id_ in answers.joined:
        return Source.JOINED
    return Source.REFUSED if id_ in answers.refused else Source.UPSTREAM


def _serves(known: Cached, detail: bool, fresh: bool) -> bool:
    if fresh and (isinstance(known.answer, MessageNotFound) or not known.answer.meaning.final):
        return False
    return serves(known.answer, detail)
