"""The workers between the queue and the platform.

At most ``max_in_flight`` workers run. The loop of each: next batch, permit, send, read the reply, settle the permit,
resolve, deliver, queue the follow-up request. Once the platform has replied and something waits, the worker sends the
next batch while the reply is read beside it.

Workers exist only while there is something to do: ``wake`` starts one, in the next iteration of the event loop, so that
whatever one iteration brings is sent as one request.
"""

import asyncio
import contextvars
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

from app.lookup.batching import Batching
from app.lookup.cache.base import Cache
from app.lookup.clock import Clock
from app.lookup.failures import (
    DeadlinePassed,
    LookupFailure,
    RepeatedRequest,
    TimedOut,
)
from app.lookup.isolation import two_of_several_callers
from app.lookup.lifetimes import Update
from app.lookup.policy import Permit, Policy
from app.lookup.queue import Batch, Queue
from app.lookup.record import Cacheable
from app.lookup.resolution import Findings, Request, RequestResult, Resolution
from app.telemetry.redaction import NotSecret
from app.telemetry.tracing import caller_spans

UNPROVEN_CONCURRENCY = 2
"""Requests at a time until the platform has answered once: wrong credentials must not be tried many times."""
CALLERS_PER_TURN = 25
"""How many callers are woken in one iteration of the event loop. A hundred who go on at once make a long turn in which
nobody else is served, and come back all together with their next questions: then the service waits idly for the
platform, and the platform for the service."""

OnUpdate = Callable[[int, Update], None]
OnRequest = Callable[[str, float, int], None]
"""Takes an attempt's result ("ok", "cancelled" or a problem's slug), its seconds and its entries."""

_deadline = attrgetter("deadline")

log = logging.getLogger(__name__)


class Reply(Protocol):
    """A whole reply that has not been read yet."""

    @property
    def may_be_error(self) -> bool:
        """Whether it looks like anything but states, so that it is read before its worker sends the next request."""


class Platform(Protocol):
    """Something that knows the states of messages, in two steps, since reading takes as long as sending."""

    async def send(self, asked: Mapping[int, bool]) -> Reply | LookupFailure:
        """Ask for several ids, each with whether detail is wanted, in one request."""

    async def read(self, asked: Mapping[int, bool], reply: Any) -> RequestResult:
        """An answer for each id that the reply speaks of; what a missing one means is not decided here.

        A failure where the reply is none, or refuses the request as a whole.
        """


class BatchInFlight:
    """Entries that left the queue together, and what is still to be asked for them.

    ``blamed``: identities of the callers already blamed for the platform's refusal of it.
    """

    __slots__ = ("began_at", "blamed", "entries", "isolated", "open", "resolution")

    def __init__(self, batch: Batch, batching: Batching, began_at: float) -> None:
        self.entries, self.isolated = batch
        self.blamed: set[str] = set()
        self.began_at = began_at
        self.open = {entry.id: entry for entry in self.entries}
        asked = {entry.id: entry.detail for entry in self.entries}
        # A bound method would make a reference cycle.
        pick_two = partial(two_of_several_callers, self.entries)
        self.resolution = Resolution(
            asked, batch_size=batching.batch_size, find_canary=batching.canary, pick_two=pick_two
        )

    @property
    def yields(self) -> bool:
        """Whether a new batch goes before its next request: not before a part of a split one, whose ids have waited."""
        request = self.resolution.request
        return self.isolated or request is None or not request.splits

    @property
    def deadline(self) -> float:
        """When the last of those who wait runs out of time."""
        return max(map(_deadline, self.open.values()), default=0.0)

    @property
    def spans(self) -> list[object]:
        """The places in traces of those who wait."""
        asking = [waiter for entry in self.open.values() for same in entry.askers.values() for waiter in same]
        return [waiter.span for waiter in asking if waiter.span is not None]


class Dispatcher:
    """Sends what is queued, and hands in the answers.

    ``max_in_flight``: requests at a time. ``attempt_timeout`` in seconds. ``on_update`` is called with each answer,
    after it went into the cache; ``on_request`` after each attempt. ``renew_credentials`` is called once an attempt
    whose credentials were rejected is settled; it returns whether there are other ones now, and then the request is
    repeated.
    """

    def __init__(
        self,
        platform: Platform,
        queue: Queue,
        policy: Policy,
        batching: Batching,
        cache: Cache,
        *,
        clock: Clock,
        max_in_flight: int,
        attempt_timeout: float,
        on_update: OnUpdate,
        on_request: OnRequest,
        renew_credentials: Callable[[], bool],
    ) -> None:
        self._platform = platform
        self._queue = queue
        self._policy = policy
        self._batching = batching
        self._cache = cache
        self._clock = clock
        self._max_in_flight = max_in_flight
        self._unproven = min(max_in_flight, UNPROVEN_CONCURRENCY)
        self._attempt_timeout = attempt_timeout
        self._on_update = on_update
        self._on_request = on_request
        self._renew_credentials = renew_credentials
        self._workers: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._starting = False
        self._follow_ups: deque[BatchInFlight] = deque()
        self._new_is_next = False
        self._reading = asyncio.Lock()

    @property
    def in_flight(self) -> int:
        """Requests in flight or about to be sent."""
        return len(self._workers)

    def wake(self) -> None:
        """Something waits: start a worker with the next iteration of the event loop, where there is a place for one."""
        if self._starting or not self._is_below_limit(len(self._workers) + 1):
            return
        self._starting = True
        # In a context of its own, or its log lines would name the one request that happened to start it.
        self._start(self._workers, self._work())

    def credentials_changed(self) -> None:
        """Use new credentials: end the lockout, ignore what the old ones met with, forget canary ids."""
        self._policy.credentials_changed()
        self._batching.forget_canaries()

    async def aclose(self) -> None:
        """Stop at once. Whoever waits has to be answered by the queue."""
        self._follow_ups.clear()
        tasks = [*self._workers, *self._readers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- the worker ---

    async def _work(self) -> None:
        self._starting = False
        try:
            while self._is_below_limit(len(self._workers)) and (batch := self._next_batch()) is not None:
                await self._guarded(batch, partial(self._serve, batch))
                if not self._something_waits():
                    break
        finally:
            # At once: whoever adds to the queue from now on needs another worker.
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - a worker is a task
            self._workers.discard(task)

    def _next_batch(self) -> BatchInFlight | None:
        """The oldest follow-up goes first where it is a part of a split batch, but for an isolated one's.

        Any other alternates with new batches.
        """
        if self._follow_ups and not (self._new_is_next and self._follow_ups[0].yields):
            return self._next_follow_up()
        blocked = self._policy.blocked_by()
        if blocked is not None:
            self._queue.refuse(blocked)
        else:
            batch = self._queue.next_batch(self._batching.limit, self._batching.poison)
            if batch is not None:
                if self._follow_ups or self._queue.may_be_sent:
                    # It is sent an iteration later: this one's bytes go out while that one is made.
                    self.wake()
                self._new_is_next = batch.isolated
                return BatchInFlight(batch, self._batching, self._clock())
        return self._next_follow_up() if self._follow_ups else None

    def _next_follow_up(self) -> BatchInFlight:
        batch = self._follow_ups.popleft()
        self._new_is_next = batch.yields
        if self._something_waits():
            self.wake()
        return batch

    async def _serve(self, batch: BatchInFlight) -> None:
        """Send one request of a batch, and see to its reply."""
        request = batch.resolution.request
        assert request is not None  # noqa: S101 - batches without one are not kept
        caller_spans.set(batch.spans)
        sent = await self._send(batch, request)
        if isinstance(sent, LookupFailure):
            await self._resolve(batch, sent)
            return
        permit, reply = sent
        # As many replies may be unread as there are places: a platform that is faster than we are must wait. What may
        # be an error is read first, so that no worker sends wrong credentials twice.
        beside = self._policy.proven and self._something_waits() and len(self._readers) < self._max_in_flight
        if beside and not reply.may_be_error:
            self._start(self._readers, self._read_beside(batch, partial(self._read, batch, request, permit, reply)))
        else:
            await self._read(batch, request, permit, reply)

    async def _read_beside(self, batch: BatchInFlight, read: Callable[[], Awaitable[None]]) -> None:
        """See to a reply while the worker sends the next batch; then nobody but us knows what has come to wait."""
        await self._guarded(batch, read)
        if self._something_waits():
            self.wake()

    async def _send(self, batch: BatchInFlight, request: Request) -> tuple[Permit, Reply] | LookupFailure:
        """One attempt, one retry where the policy allows it, and another one where the credentials have changed.

        Failures are settled.
        """
        failure, may_retry = None, not request.extra
        while True:
            seconds_left = batch.deadline - self._clock()
            if seconds_left <= 0:
                return failure or DeadlinePassed("the deadline is over")
            permit = self._policy.permit(is_first=may_retry and failure is None)
            if isinstance(permit, LookupFailure):
                return failure or permit
            try:
                async with asyncio.timeout(min(seconds_left, self._attempt_timeout)):
                    sent = await self._platform.send(request.asked)
            except TimeoutError:
                sent = self._too_late(seconds_left)
            except BaseException:
                self._policy.cancel(permit)
                self._on_request("cancelled", self._clock() - permit.began_at, len(request.asked))
                raise
            if not isinstance(sent, LookupFailure):
                return permit, sent
            failure = sent
            self._settle(permit, failure, request)
            if self._is_rejected_before_a_change(permit, failure):
                continue
            seconds_left = batch.deadline - self._clock()
            pause = self._policy.pause_before_retry(permit, failure, seconds_left) if may_retry else None
            if pause is None:
                return failure
            may_retry = False
            await asyncio.sleep(pause)

    def _too_late(self, seconds_left: float) -> LookupFailure:
        # An attempt that was cut short by its callers' deadline says little about the platform.
        if seconds_left < self._attempt_timeout / 2:
            return DeadlinePassed("the deadline is over")
        return TimedOut("the platform did not answer in time")

    async def _read(self, batch: BatchInFlight, request: Request, permit: Permit, reply: Reply) -> None:
        """Read a reply, settle its permit, and see to what follows."""
        async with self._reading:
            # Replies that come together are read one after the other, an iteration of the event loop for each: nobody
            # waits for all of them.
            await asyncio.sleep(0)
            outcome = _unless_all_rejected(await self._platform.read(request.asked, reply))
        failure = outcome if isinstance(outcome, LookupFailure) else None
        self._settle(permit, failure, request)
        if failure is not None and self._is_rejected_before_a_change(permit, failure):
            self._follow_ups.append(batch)
        else:
            await self._resolve(batch, outcome)

    def _settle(self, permit: Permit, failure: LookupFailure | None, request: Request) -> None:
        alone = failure is not None and failure.counted_alone and self._is_unsuspected(request)
        blocked = self._policy.settle(permit, failure, alone=alone)
        self._on_request(failure.slug if failure else "ok", self._clock() - permit.began_at, len(request.asked))
        if failure is not None:
            fields = failure.log_fields | {"entries": len(request.asked)}
            log.log(failure.log_level, "upstream request failed: %s", NotSecret(failure.slug), extra={"fields": fields})
            if failure.locks_out and not self._policy.is_outdated(permit) and self._renew_credentials():
                self.credentials_changed()
                blocked = self._policy.blocked_by()
            if blocked is not None:
                self._queue.refuse(blocked)

    def _is_unsuspected(self, request: Request) -> bool:
        """Whether it is for one id, and an empty reply would say more about the platform than about that."""
        id_, *others = request.asked
        return not (others or request.splits or self._batching.is_poison(id_))

    def _is_rejected_before_a_change(self, permit: Permit, failure: LookupFailure) -> bool:
        return failure.locks_out and self._policy.is_outdated(permit)

    async def _resolve(self, batch: BatchInFlight, outcome: RequestResult) -> None:
        """Take an outcome, deliver the answers, and queue what follows."""
        shut = self._policy.blocked_by() if isinstance(outcome, LookupFailure) else None
        findings = batch.resolution.receive(outcome, shut)
        self._batching.learn(findings)
        if findings.poison:
            poison = {*findings.poison}
            self._queue.blame([entry for entry in batch.entries if entry.id in poison], batch.blamed)
        if findings.all_refused:
            self._give_up(batch)
        await self._deliver(batch, findings)
        if findings.alone:
            self._queue.put_back([batch.open.pop(id_) for id_ in findings.alone])
        if batch.resolution.request is not None:
            self._follow_ups.append(batch)
        else:
            self._end(batch)

    def _give_up(self, batch: BatchInFlight) -> None:
        """No part of a batch was accepted: it is the platform, or all ids are poison."""
        if not batch.isolated:
            self._policy.circuit_breaker.count(failed=True)
        # A platform that answers others meanwhile does not fail. Of several callers nobody knows whose ids it were.
        if batch.isolated or self._batching.answered_since(batch.began_at):
            self._queue.blame(batch.entries, batch.blamed, only_if_single=True)

    async def _deliver(self, batch: BatchInFlight, findings: Findings) -> None:
        woken = 0
        replied_at = self._clock()  # the answers of one reply share the number: 24 bytes of each that is kept
        for id_, answer in findings.answers:
            if isinstance(answer, RepeatedRequest):
                self._batching.withhold(id_, answer)
            update = self._cache.put(id_, answer, replied_at=replied_at) if isinstance(answer, Cacheable) else answer
            self._on_update(id_, update)
            woken += self._queue.answer(batch.open.pop(id_), update)
            if woken >= CALLERS_PER_TURN:
                woken = 0
                await asyncio.sleep(0)

    def _end(self, batch: BatchInFlight) -> None:
        """Nobody is left without an answer, whatever happened."""
        if batch.isolated:
            self._queue.end_isolated()
        for entry in batch.open.values():
            self._queue.answer(entry, LookupFailure("the request ended without an answer"))
        batch.open.clear()

    async def _guarded(self, batch: BatchInFlight, work: Callable[[], Awaitable[None]]) -> None:
        """A defect ends one batch, and not the worker."""
        try:
            await work()
        except Exception:
            waiters = [waiter for entry in batch.open.values() for waiter in entry.waiters]
            concerned = sorted({waiter.request_id or "" for waiter in waiters})
            log.exception("unhandled error while asking the platform", extra={"fields": {"request_ids": concerned}})
            self._end(batch)

    # --- places ---

    def _something_waits(self) -> bool:
        return bool(self._follow_ups) or self._queue.may_be_sent

    def _is_below_limit(self, workers: int) -> bool:
        return workers <= (self._max_in_flight if self._policy.proven else self._unproven)

    def _start(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _unless_all_rejected(outcome: RequestResult) -> RequestResult:
    """Every entry carries the credentials, so the platform may reject them entry by entry."""
    if isinstance(outcome, LookupFailure):
        return outcome
    failures = [answer for answer in outcome.values() if isinstance(answer, LookupFailure) and answer.locks_out]
    return failures[0] if failures and len(failures) == len(outcome) else outcome
