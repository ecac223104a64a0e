"""Many callers, one request.

Whoever asks for an id that is queued or in flight joins its entry; entries leave together. While a slot is free
they leave on the next turn of the event loop, which collects what that turn brought; while none is, they gather
and the next free slot takes as many as a request holds, oldest first. Where a full request waits, a slot is free as
soon as the platform has replied, and not only when the reply is read.

Semantics: every caller gets exactly one answer for each id, at the latest at its deadline. A caller that leaves or
runs out of time takes nothing from the others; an entry that nobody waits for any more is dropped before it is
sent, and once sent it runs to its end, for the cache. Who wants detail never joins an entry sent without it.
``drain`` waits until everything is answered, ``abort`` answers it now.
"""

import asyncio
import contextvars
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable

from app.lookup.failures import LookupFailure, Overloaded, RepeatedRequest
from app.lookup.flight import Flight, Slots
from app.lookup.guard import Guard
from app.lookup.isolation import Isolation
from app.lookup.platform import Answer
from app.lookup.resilience import Clock
from app.lookup.waiting import Caller, Deadlines, Entry, Source, Take
from app.telemetry.logs import request_id_of_log
from app.telemetry.tracing import current_span, serving

Remember = Callable[[int, Answer], Answer]

log = logging.getLogger(__name__)


class Batcher:
    """Groups the ids that many callers ask for into few requests.

    ``deadline`` in seconds, for each caller. ``remember`` sees every answer of the platform first, and returns the
    one that the callers get.
    """

    def __init__(
        self,
        guard: Guard,
        isolation: Isolation,
        clock: Clock,
        *,
        slots: int,
        deadline: float,
        max_queued: int,
        remember: Remember = lambda _id, answer: answer,
    ) -> None:
        self._guard = guard
        self._isolation = isolation
        self._clock = clock
        self._slots = Slots(lambda: guard.width(slots), self._full_batch_waits, self._dispatch)
        self._max_queued = max_queued
        self._remember = remember
        self._queue: OrderedDict[int, Entry] = OrderedDict()
        # Keyed by detail: an id may be on its way twice, since the second caller wanted more than the first.
        self._flying: dict[bool, dict[int, Entry]] = {False: {}, True: {}}
        self._flights: dict[asyncio.Task[None], Flight] = {}
        self._deadlines = Deadlines(clock, deadline)
        self._woken = False
        self._stopped: Overloaded | None = None
        guard.on_shut = self._refuse_queued

    @property
    def queued(self) -> int:
        """Ids that wait for a slot."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Slots in use."""
        return self._slots.in_use

    async def ask(self, ids: Iterable[int], detail: bool, take: Take) -> None:
        """Find answers for distinct ids. Never raises LookupFailure: failures are answers."""
        refusal = self._stopped or self._guard.refusal()
        if refusal is not None:
            for id_ in ids:
                take(id_, refusal, Source.REFUSED)
            return
        ids = self._refuse_withheld(ids, take)
        if not ids:
            return
        done = asyncio.get_running_loop().create_future()
        caller = Caller(take, self._deadlines.next(), done, current_span(), request_id_of_log.get())
        refused: list[int] = []
        for id_ in ids:
            entry = self._entry(id_, detail)
            if entry is None:
                refused.append(id_)
            else:
                if entry.callers:
                    caller.joined.add(id_)
                entry.join(caller)
        self._deadlines.watch(caller)
        self._wake()
        if refused:
            log.log(Overloaded.log_level, "the queue is full: ids are refused (MAX_QUEUED_IDS)")
            caller.refuse(refused, Overloaded("too many ids are queued", retry_after=1))
        # A task that is cancelled here cancels the future it waits for, so its entries are no longer wanted.
        await caller.done

    def _refuse_withheld(self, ids: Iterable[int], take: Take) -> list[int]:
        """Answer the ids that may not be asked for now. Returns the others."""
        rest = []
        for id_ in ids:
            withheld = self._isolation.withheld(id_)
            if withheld is None:
                rest.append(id_)
            else:
                take(id_, withheld, Source.REFUSED)
        return rest

    async def drain(self) -> None:
        """Wait until nothing is queued or in flight."""
        while self._queue or self._flights:
            self._dispatch()
            if self._flights:
                await asyncio.wait(self._flights, return_when=asyncio.FIRST_COMPLETED)

    async def abort(self) -> None:
        """Answer everybody now, and everybody who still comes: the service stops."""
        self._stopped = Overloaded("the service is stopping", retry_after=1)
        self._deadlines.answer_all(self._stopped)
        self._queue.clear()
        flights = dict(self._flights)
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        # A flight that was cancelled before its first step could not clean up after itself.
        for flight in flights.values():
            flight.land()
        self._flights.clear()
        for flying in self._flying.values():
            flying.clear()

    def _entry(self, id_: int, detail: bool) -> Entry | None:
        """The entry to join: one in flight that serves, one in the queue, or a new one if there is room."""
        flying = self._flying[True].get(id_) or (None if detail else self._flying[False].get(id_))
        if flying is not None:
            return flying
        entry = self._queue.get(id_)
        if entry is None:
            if len(self._queue) >= self._max_queued:
                return None
            entry = self._queue[id_] = Entry(id_, detail)
        entry.detail = entry.detail or detail
        return entry

    # --- leaving ---

    def _wake(self) -> None:
        """Dispatch once, after everything that this turn of the loop still brings."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._woken = False
        if not self._queue or not self._slots.free:
            return
        if self._guard.refusal() is not None:
            self._refuse_queued()
            return
        batch = self._next_batch()
        if batch:
            for entry in batch:
                self._flying[entry.detail][entry.id] = entry
            flight = Flight(batch, self._slots, self._clock)
            # In a context of its own, or its log lines would name the one request that happened to start it.
            task = asyncio.get_running_loop().create_task(self._fly(flight), context=contextvars.Context())
            self._flights[task] = flight
            if self._queue:
                # The next one a turn later: this one's bytes leave while it is made.
                self._wake()

    def _full_batch_waits(self) -> bool:
        # As many replies may be unread as there are slots: a platform that is faster than we are must wait.
        return len(self._queue) >= self._isolation.batch_limit and len(self._flights) < 2 * self._slots.width

    def _next_batch(self) -> list[Entry]:
        """The oldest entries that may travel together; drops those that nobody waits for."""
        limit = self._isolation.batch_limit
        batch: list[Entry] = []
        dropped: list[int] = []
        for entry in self._queue.values():
            if not entry.wanted:
                dropped.append(entry.id)
            elif entry.alone or limit == 1 or self._isolation.goes_alone(entry.id):
                if not batch:
                    batch.append(entry)
                    break
            else:
                batch.append(entry)
                if len(batch) >= limit:
                    break
        for id_ in dropped:
            del self._queue[id_]
        for entry in batch:
            del self._queue[entry.id]
        return batch

    async def _fly(self, flight: Flight) -> None:
        """Ask for a batch until everybody in it has an answer or goes back to ask alone."""
        batch = list(flight.open.values())

        def settle(id_: int, answer: Answer) -> int:
            entry = flight.open.pop(id_, None)
            if entry is None:
                return 0
            del self._flying[entry.detail][id_]
            if isinstance(answer, RepeatedRequest):
                self._isolation.withhold(id_, answer)
            return entry.answer(self._remember(id_, answer))

        again: list[int] = []
        serving.set([caller.span for entry in batch for caller in entry.callers if caller.span is not None])
        try:
            again = await self._isolation.ask(flight.asked, flight, settle)
        except Exception:
            concerned = sorted({caller.request_id or "" for entry in batch for caller in entry.callers})
            log.exception("a flight ended in a defect of this service", extra={"fields": {"request_ids": concerned}})
        finally:
            self._land(flight, again)

    def _land(self, flight: Flight, again: list[int]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - only called at the end of a flight
        del self._flights[task]
        for id_ in reversed(again):
            self._requeue(flight.open.pop(id_))
        for entry in flight.open.values():
            del self._flying[entry.detail][entry.id]
            entry.answer(LookupFailure("the flight ended without an answer"))
        flight.land()
        self._dispatch()

    def _requeue(self, entry: Entry) -> None:
        """Back to the head of the queue, to be asked alone."""
        del self._flying[entry.detail][entry.id]
        queued = self._queue.get(entry.id)
        if queued is not None:
            # Asked twice, with detail and without; one question now serves both.
            queued.detail = queued.detail or entry.detail
            for caller in entry.callers:
                queued.join(caller)
            entry = queued
        entry.alone = True
        self._queue[entry.id] = entry
        self._queue.move_to_end(entry.id, last=False)

    def _refuse_queued(self) -> None:
        """The way to the platform is shut: nobody waits in a queue for it."""
        refusal = self._guard.refusal()
        if refusal is not None:
            entries = list(self._queue.values())
            self._queue.clear()
            for entry in entries:
                entry.answer(refusal)
