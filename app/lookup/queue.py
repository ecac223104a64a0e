"""What waits for the platform: one entry for each id, who waits for it, and until when.

Passive: callers add ids, the dispatcher takes batches and hands in answers. Nothing here starts a task or asks anybody.

    waiter = queue.add([82216, 82217], detail=False, on_answer=take)   # take(id, answer, source) for each id
    batch = queue.next_batch(limit=100, is_alone=batching.is_poison)   # the oldest entries that may travel together
    queue.answer(batch[0], answer)                                     # calls take for everybody who waits for this id
    await waiter.done                                                  # every id of this waiter is answered

Guarantees: every waiter gets exactly one answer for each of its ids, at the latest at its deadline. A waiter that
leaves (its ``done`` is cancelled) takes nothing from the others; an entry that nobody waits for any more is dropped
before it is sent, and once sent it stays until it is answered, for the cache. Who wants detail never joins an entry
that was sent without it. ``close`` answers everybody, and nothing may be added afterwards.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from enum import StrEnum

from app.lookup.caller import INTERNAL, Caller
from app.lookup.failures import DeadlinePassed, LookupFailure, Overloaded
from app.lookup.policy import Clock
from app.lookup.record import Answer

log = logging.getLogger(__name__)


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    JOINED = "joined"
    """From a request for somebody who had asked before."""
    UPSTREAM = "upstream"
    REFUSED = "refused"
    """From nowhere: the platform was not asked."""


OnAnswer = Callable[[int, Answer, Source], None]
"""Takes each answer to a question as soon as it is there."""


class Waiter:
    """One caller's question: the ids that are still ``open``, and ``done`` once none is.

    ``caller`` is who asks, ``span`` its span in a trace, ``request_id`` its request in the log, where there is one.
    """

    __slots__ = ("_joined", "_on_answer", "caller", "deadline", "done", "open", "request_id", "span")

    def __init__(
        self,
        on_answer: OnAnswer,
        deadline: float,
        *,
        caller: Caller = INTERNAL,
        span: object = None,
        request_id: str | None = None,
    ) -> None:
        self._on_answer = on_answer
        self._joined: set[int] = set()
        self.caller = caller
        self.deadline = deadline
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.span = span
        self.request_id = request_id
        self.open: set[int] = set()

    def join(self, id_: int, *, first: bool) -> None:
        """Wait for an id; ``first``: nobody has waited for its entry before."""
        self.open.add(id_)
        if not first:
            self._joined.add(id_)

    def take(self, id_: int, answer: Answer, source: Source = Source.UPSTREAM) -> bool:
        """Take one answer. Returns whether it was the last one, so that the caller goes on."""
        if self.done.done():
            return False
        self.open.discard(id_)
        try:
            self._on_answer(id_, answer, Source.JOINED if id_ in self._joined else source)
        except Exception as error:
            # What a caller does with an answer must not harm those who wait for the same reply.
            self.done.set_exception(error)
            return True
        if self.open:
            return False
        self.done.set_result(None)
        return True

    def take_all(self, ids: Iterable[int], answer: Answer, source: Source = Source.UPSTREAM) -> None:
        """Take the same answer for several ids."""
        for id_ in list(ids):
            self.take(id_, answer, source)


class Entry:
    """One id that is queued or in flight, with everybody who waits for it."""

    __slots__ = ("alone", "deadline", "detail", "id", "waiters")

    def __init__(self, id_: int, detail: bool) -> None:
        self.id = id_
        self.detail = detail
        self.alone = False
        self.deadline = 0.0
        self.waiters: list[Waiter] = []

    def add(self, waiter: Waiter) -> None:
        """One more who waits; the entry lives as long as any of them has time."""
        waiter.join(self.id, first=not self.waiters)
        self.waiters.append(waiter)
        self.deadline = max(self.deadline, waiter.deadline)

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits."""
        for waiter in self.waiters:  # noqa: SIM110 - any() makes a generator for each id
            if not waiter.done.done():
                return True
        return False


class Queue:
    """Entries that wait for a request, oldest first, and those in flight.

    ``deadline``: seconds in which each waiter has its answers. ``max_queued``: ids that may wait; what does not fit is
    answered with ``Overloaded``.
    """

    def __init__(self, clock: Clock, *, deadline: float, max_queued: int) -> None:
        self._clock = clock
        self._deadline = deadline
        self._max_queued = max_queued
        self._queued: OrderedDict[int, Entry] = OrderedDict()
        # Keyed by detail: an id may be in flight twice, since the second caller wanted more than the first.
        self._in_flight: dict[bool, dict[int, Entry]] = {False: {}, True: {}}
        # All deadlines are equally long, so the oldest waiter is the first to run out of time: one timer serves all.
        self._waiters: deque[Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Ids that wait for a request."""
        return len(self._queued)

    @property
    def in_flight(self) -> int:
        """Ids that have been taken and are not answered yet."""
        return sum(map(len, self._in_flight.values()))

    def add(
        self,
        ids: Iterable[int],
        detail: bool,
        on_answer: OnAnswer,
        *,
        caller: Caller = INTERNAL,
        span: object = None,
        request_id: str | None = None,
    ) -> Waiter:
        """Wait for distinct ids, of which there is at least one. ``on_answer`` must not add to the queue."""
        waiter = Waiter(on_answer, self._clock() + self._deadline, caller=caller, span=span, request_id=request_id)
        refused: list[int] = []
        for id_ in ids:
            entry = self._entry(id_, detail)
            if entry is None:
                refused.append(id_)
                waiter.join(id_, first=True)
            else:
                entry.add(waiter)
        while self._waiters and self._waiters[0].done.done():
            self._waiters.popleft()
        self._waiters.append(waiter)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._deadline, self._expire)
        if refused:
            log.log(Overloaded.log_level, "the queue is full: ids are refused (MAX_QUEUED_IDS)")
            waiter.take_all(refused, Overloaded("too many ids are queued", retry_after=1), Source.REFUSED)
        return waiter

    def next_batch(self, limit: int, is_alone: Callable[[int], bool]) -> list[Entry]:
        """Take the oldest entries that may travel together, at most ``limit``; empty where nothing waits.

        ``is_alone`` says of an id that it must be asked alone.
        """
        batch: list[Entry] = []
        dropped: list[int] = []
        for entry in self._queued.values():
            if not entry.wanted:
                dropped.append(entry.id)
            elif entry.alone or limit == 1 or is_alone(entry.id):
                if not batch:
                    batch.append(entry)
                    break
            else:
                batch.append(entry)
                if len(batch) >= limit:
                    break
        for id_ in dropped:
            del self._queued[id_]
        for entry in batch:
            del self._queued[entry.id]
            self._in_flight[entry.detail][entry.id] = entry
        return batch

    def answer(self, entry: Entry, answer: Answer) -> int:
        """The answer of an entry in flight. Returns how many waiters go on, since it was their last one."""
        del self._in_flight[entry.detail][entry.id]
        return _answer(entry, answer)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Let entries in flight wait again, first in the queue, each to be asked alone."""
        for entry in reversed(list(entries)):
            del self._in_flight[entry.detail][entry.id]
            queued = self._queued.get(entry.id)
            if queued is None:
                queued = entry
            else:
                # Asked twice, with detail and without; one question now serves both.
                queued.detail = queued.detail or entry.detail
                for waiter in entry.waiters:
                    queued.add(waiter)
            queued.alone = True
            self._queued[entry.id] = queued
            self._queued.move_to_end(entry.id, last=False)

    def refuse(self, failure: LookupFailure) -> None:
        """Answer everything that is queued, and leave alone what is in flight."""
        entries = list(self._queued.values())
        self._queued.clear()
        for entry in entries:
            _answer(entry, failure)

    def close(self, failure: LookupFailure) -> None:
        """Answer everybody now, and forget everything."""
        for waiter in self._waiters:
            waiter.take_all(waiter.open, failure)
        self._waiters.clear()
        self._queued.clear()
        for entries in self._in_flight.values():
            entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _entry(self, id_: int, detail: bool) -> Entry | None:
        """The entry to join: one in flight that serves, one in the queue, or a new one if there is room."""
        in_flight = self._in_flight[True].get(id_) or (None if detail else self._in_flight[False].get(id_))
        if in_flight is not None:
            return in_flight
        entry = self._queued.get(id_)
        if entry is None:
            if len(self._queued) >= self._max_queued:
                return None
            entry = self._queued[id_] = Entry(id_, detail)
        entry.detail = entry.detail or detail
        return entry

    def _expire(self) -> None:
        now = self._clock()
        while self._waiters and (self._waiters[0].done.done() or self._waiters[0].deadline <= now):
            waiter = self._waiters.popleft()
            waiter.take_all(waiter.open, DeadlinePassed("the deadline is over"))
        self._timer = None
        if self._waiters:
            left = max(self._waiters[0].deadline - now, 0.001)
            self._timer = asyncio.get_running_loop().call_later(left, self._expire)


def _answer(entry: Entry, answer: Answer) -> int:
    going_on = 0
    for waiter in entry.waiters:
        going_on += waiter.take(entry.id, answer)
    return going_on
