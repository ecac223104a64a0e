"""Lookups: the cache first, then the queue, from which the dispatcher asks the platform."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from app.lookup.batching import Batching
from app.lookup.cache.base import Cache
from app.lookup.caller import INTERNAL, Caller
from app.lookup.clock import Clock
from app.lookup.dispatcher import Dispatcher, OnRequest, OnUpdate, Platform
from app.lookup.failures import AboutOneMessage, LookupFailure, Overloaded
from app.lookup.lifetimes import Cached, Lifetimes, Update
from app.lookup.policy import CredentialLockout, Policy
from app.lookup.queue import Queue, Watching
from app.lookup.record import Answer, Cacheable, MessageRecord, merge, serves
from app.lookup.waiter import Source
from app.telemetry.logs import request_id_of_log
from app.telemetry.tracing import current_span


class LookupResult(NamedTuple):
    """An answer and where it came from.

    ``age``: seconds since the platform's reply. ``lifetime``: seconds without growth, for ``max-age``. ``ttl``: seconds
    with the growth of a state that lasts, for the watcher.
    """

    answer: Answer
    age: float
    lifetime: float
    source: Source
    ttl: float = 0.0


class Engine:
    """Answers for any number of ids, with as few upstream requests as possible.

    ``deadline``: seconds in which each caller has its answer. ``max_queued``: ids that may wait for a request.
    ``longest_lockout``: seconds for which nothing is sent after rejected credentials, at most. For the other limits and
    the events see ``Dispatcher``. ``lookups`` and ``failures`` count ids, by source and problem.
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
        longest_lockout: float = CredentialLockout.LONGEST,
        on_update: OnUpdate = lambda _id, _update: None,
        on_request: OnRequest = lambda _result, _seconds, _entries: None,
        renew_credentials: Callable[[], bool] = lambda: False,
        watching: Watching = lambda _id: (),
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._lifetimes = lifetimes
        self._on_update = on_update
        self._closed: Overloaded | None = None
        self.lookups: Counter[Source] = Counter()
        self.failures: Counter[str] = Counter()
        self.policy = Policy(clock, longest_lockout=longest_lockout, jitter=jitter)
        self.batching = Batching(clock, batch_size=batch_size)
        self.queue = Queue(clock, deadline=deadline, max_queued=max_queued, watching=watching)
        self.dispatcher = Dispatcher(
            platform,
            self.queue,
            self.policy,
            self.batching,
            cache,
            clock=clock,
            max_in_flight=max_in_flight,
            attempt_timeout=attempt_timeout,
            on_update=on_update,
            on_request=on_request,
            renew_credentials=renew_credentials,
        )

    async def lookup(
        self,
        ids: Iterable[int],
        detail: bool,
        *,
        fresh: bool = False,
        caller: Caller = INTERNAL,
        on_result: Callable[[int, LookupResult], None] | None = None,
    ) -> dict[int, LookupResult]:
        """An answer for each distinct id, in the order asked. Never raises LookupFailure: failures are answers.

        ``fresh`` asks the platform anew, except for final states that are known with the detail asked for. ``caller``
        is who asks. ``POLLS`` has no deadline, and no answer for an id that nobody watches any more.
        ``on_result`` is called with each result as soon as it is there, while the platform may still work on others.
        """
        distinct = list(dict.fromkeys(ids))
        cached = await self._cache.get_many(distinct, detail, as_use=not fresh)
        now = self._clock()
        results: dict[int, LookupResult] = {}
        missing: list[int] = []

        def take(id_: int, update: Update, source: Source) -> None:
            self.lookups[source] += 1
            if isinstance(update, Cached):
                result = LookupResult(update.answer, 0.0, update.max_age, source, update.ttl)
            else:
                result = LookupResult(update, 0.0, 0.0, source)
            if isinstance(result.answer, LookupFailure):
                self.failures[result.answer.slug] += 1
            results[id_] = result
            if on_result is not None:
                on_result(id_, result)

        for id_ in distinct:
            known = cached.get(id_)
            if known is None or ((fresh or detail) and not _serves(known.answer, detail, fresh)):
                missing.append(id_)
                continue
            # Not by ``take``: most lookups end here.
            answer = known.answer
            if isinstance(answer, LookupFailure):
                self.failures[answer.slug] += 1
            result = results[id_] = LookupResult(answer, now - known.replied_at, known.max_age, Source.CACHE, known.ttl)
            if on_result is not None:
                on_result(id_, result)
        self.lookups[Source.CACHE] += len(results)
        if missing:
            blocked = self._closed or self.policy.blocked_by()
            wanted: list[int] = []
            for id_ in missing:
                failure = blocked or (self.batching.withheld(id_) if self.batching.repeated else None)
                if failure is None:
                    wanted.append(id_)
                else:
                    take(id_, failure, Source.REFUSED)
            if wanted:
                waiter = self.queue.add(
                    wanted,
                    detail,
                    take,
                    caller=caller,
                    span=current_span(),
                    request_id=request_id_of_log.get(),
                )
                if self.queue.may_be_sent:
                    self.dispatcher.wake()
                # A task that is cancelled here cancels the future it waits for, so its entries are no longer wanted.
                await waiter.done
        if not missing or len(distinct) == 1:
            return results
        return {id_: results[id_] for id_ in distinct if id_ in results}

    def at_hand(self, id_: int, detail: bool) -> tuple[Cached, float] | None:
        """The state that a lookup of one id gives without asking anybody, and its age in seconds; None without one.

        Counted like a lookup.
        """
        cached = self._cache.at_hand(id_, detail)
        if cached is None:
            return None
        self.lookups[Source.CACHE] += 1
        return cached, self._clock() - cached.replied_at

    async def report(self, reports: Sequence[MessageRecord]) -> None:
        """Take what the platform reports by itself: late, twice, in any order, and without parts and price."""
        cached = await self._cache.get_many({report.id for report in reports}, as_use=False)
        known: dict[int, Cacheable] = {id_: each.answer for id_, each in cached.items()}
        for report in reports:
            old = known.get(report.id)
            merged = merge(report, old, in_order=False)
            if merged is not old:
                kept = self._cache.put(report.id, merged, reported=True)
                known[report.id] = kept.answer
                self._on_update(report.id, kept)

    def credentials_changed(self) -> None:
        """Use new credentials: end the lockout, ignore what the old ones met with, forget canary ids."""
        self.dispatcher.credentials_changed()

    async def aclose(self) -> None:
        """Answer everybody now, and everybody who still comes: the service stops."""
        self._closed = Overloaded("the service is stopping", retry_after=1)
        self.queue.close(self._closed)
        await self.dispatcher.aclose()


def _serves(answer: Cacheable, detail: bool, fresh: bool) -> bool:
    if fresh and (isinstance(answer, AboutOneMessage) or not answer.meaning.final):
        return False
    return serves(answer, detail)
