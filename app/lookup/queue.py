"""What waits for the platform: one entry for each id, who waits for it, and until when.

Passive: callers add ids, the dispatcher takes batches and hands in answers. Nothing here starts a task or waits for
anything; the one thing that it does by itself is to answer those whose deadline has come.

    waiter = queue.add([82216, 82217], detail=False, on_answer=take)   # take(id, answer, source) for each id
    batch = queue.next_batch(limit=100, apart=batching.poison)         # entries that may travel together, in turns
    queue.answer(batch.entries[0], answer)                             # calls take for everybody who waits for this id
    await waiter.done                                                  # every id of this waiter is answered

Guarantees: every waiter that stays gets exactly one answer for each of its ids, at the latest at its deadline. A waiter
that leaves (its ``done`` is cancelled) takes nothing from the others; an entry that nobody waits for any more is
dropped before it is sent, and once sent it stays until it is answered, for the cache. Who wants detail never joins an
entry that was sent without it. ``close`` answers everybody, and nothing may be added afterwards.

Whose id goes with the next request: one of each caller in turn (``turns.py``). The watcher's polls (the caller
``POLLS``) have no deadline, no answer where nobody watches any more, and take no room: they fill what the callers leave
of a request, and have a quarter of it always. Ids that must be asked alone, and those of isolated callers
(``isolation.py``), have every second request at most while others wait.
"""

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from app.lookup.caller import INTERNAL, POLLS, Caller
from app.lookup.clock import Clock
from app.lookup.failures import DeadlinePassed, LookupFailure, Overloaded
from app.lookup.isolation import Isolation
from app.lookup.lifetimes import Update
from app.lookup.turns import Turns
from app.lookup.waiter import Entry, OnAnswer, Source, Waiter

POLLS_SHARE = 4
"""The watcher gets 1/POLLS_SHARE of each request, or every POLLS_SHARE-th request where requests are smaller."""

Watching = Callable[[int], Iterable[Caller]]
"""The callers that watch an id."""

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Entries to be asked in one request, at least one. ``isolated``: all of them belong to isolated callers."""

    entries: list[Entry]
    isolated: bool


class Queue:
    """Entries that wait for a request, and those in flight.

    ``deadline``: seconds in which each waiter has its answers. ``max_queued``: ids that may wait; what does not fit is
    answered with ``Overloaded``. ``watching``: for whom the watcher polls. ``refused`` counts ids that did not fit, by
    the callers' labels.
    """

    def __init__(self, clock: Clock, *, deadline: float, max_queued: int, watching: Watching = lambda _id: ()) -> None:
        self._clock = clock
        self._deadline = deadline
        self._max_queued = max_queued
        self._watching = watching
        # What callers wait for. What is polled and nobody asks for stands in _polled alone.
        self._queued: dict[int, Entry] = {}
        self._polled: dict[int, Entry] = {}
        self._turns = Turns(Entry.is_asked_by, self._drop, self._leave)
        self._polls = Turns(self._is_wanted, self._drop, self._leave)
        self._isolated = Turns(self._is_wanted, self._drop, self._leave)
        self._isolated_in_flight = False
        self._separate_is_next = False
        self._polls_are_next_in = POLLS_SHARE
        # What goes separately: ids alone, one in one request (True), and ids of isolated callers, which share requests.
        self._separate = deque(
            ((self._turns, True), (self._polls, True), (self._isolated, False), (self._isolated, True))
        )
        # Keyed by detail: an id may be in flight twice, since the second caller wanted more than the first.
        self._in_flight: dict[bool, dict[int, Entry]] = {False: {}, True: {}}
        # All deadlines are equally long, so the oldest waiter is the first to run out of time: one timer serves all.
        self._waiters: deque[Waiter] = deque()
        self._polling: list[Waiter] = []
        self._timer: asyncio.TimerHandle | None = None
        self.isolation = Isolation(clock)
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        """Ids that callers wait for, and that wait for a request."""
        return len(self._queued)

    @property
    def waiting_polls(self) -> int:
        """Ids to be polled, which no caller waits for and no request has had room for."""
        return len(self._polled)

    @property
    def may_be_sent(self) -> bool:
        """Whether there is a next batch."""
        return bool(self._turns.lines or self._polls.lines) or (
            bool(self._isolated.lines) and not self._isolated_in_flight
        )

    @property
    def in_flight(self) -> int:
        """Ids that have been taken and are not answered yet."""
        return sum(map(len, self._in_flight.values()))

    def waiting(self) -> dict[str, tuple[int, float]]:
        """By the callers' labels: how many of their ids are queued, and for how many seconds the oldest has been."""
        now = self._clock()
        found: dict[str, tuple[int, float]] = {}
        for line in (*self._turns.lines.values(), *self._isolated.lines.values()):
            try:
                asked_at = line.oldest.askers[line.caller.identity][0].deadline - self._deadline
            except (StopIteration, RuntimeError, KeyError):
                continue  # metrics are read by another thread, and this line has just ended or changed
            if line.caller is not POLLS:
                ids, seconds = found.get(line.caller.label, (0, 0.0))
                found[line.caller.label] = ids + len(line), max(seconds, now - asked_at)
        return found

    # --- who waits ---

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
        deadline = -math.inf if caller is POLLS else self._clock() + self._deadline
        waiter = Waiter(on_answer, deadline, caller=caller, span=span, request_id=request_id)
        turns = self._isolated if caller.identity in self.isolation.callers else self._turns
        refused: list[int] = []
        for id_ in ids:
            entry = self._in_flight[True].get(id_) or (None if detail else self._in_flight[False].get(id_))
            if entry is not None:
                entry.add(waiter, detail)
            elif caller is POLLS:
                self._add_poll(id_, detail, waiter)
            elif (entry := self._queued.get(id_)) is not None:
                if entry.add(waiter, detail):
                    turns.add(caller, entry)
            elif len(self._queued) >= self._max_queued and not self._make_room(caller, turns):
                refused.append(id_)
                waiter.open.add(id_)
            else:
                entry = self._no_longer_polled(id_, detail, waiter) if id_ in self._polled else None
                entry = self._queued[id_] = entry or Entry(id_, detail, waiter)
                turns.add(caller, entry)
        if caller is POLLS:
            self._polling = [each for each in self._polling if not each.done.done()] + [waiter]
            return waiter
        while self._waiters and self._waiters[0].done.done():
            self._waiters.popleft()
        self._waiters.append(waiter)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._deadline, self._expire)
        if refused:
            self._refuse(refused, [waiter])
        return waiter

    def _no_longer_polled(self, id_: int, detail: bool, waiter: Waiter) -> Entry:
        """The entry of an id that has waited for room: from now on it leaves at the turn of its caller."""
        entry = self._polled.pop(id_)
        self._leave(entry)
        entry.add(waiter, detail)
        return entry

    def _make_room(self, caller: Caller, turns: Turns) -> bool:
        """Refuse the newest ids of the callers with the most until there is room; False if the new one has the most."""
        own = turns.lines.get(caller.identity)
        while len(self._queued) >= self._max_queued:
            longest = [each for each in (self._turns.longest(), self._isolated.longest()) if each is not None]
            line = max(longest, key=len, default=None)
            if line is None or len(line) <= (len(own) if own is not None else 0) + 1:
                return False
            entry = line.newest
            for each in (self._turns, self._isolated):
                each.remove(line.caller.identity, entry.id)
            waiters = entry.forget(line.caller)
            self._refuse([entry.id], waiters)
            self._after_leaving(entry)
        return True

    def _refuse(self, ids: list[int], waiters: list[Waiter]) -> None:
        log.log(Overloaded.log_level, "the queue is full: ids are refused (MAX_QUEUED_IDS)")
        for waiter in waiters:
            self.refused[waiter.caller.label] += len(ids)
            waiter.take_all(ids, Overloaded("too many ids are queued", retry_after=1), Source.REFUSED)

    def _add_poll(self, id_: int, detail: bool, waiter: Waiter) -> None:
        entry = self._queued.get(id_) or self._polled.get(id_)
        if entry is not None:
            entry.add(waiter, detail)
            return
        entry = self._polled[id_] = Entry(id_, detail, waiter)
        self._poll_turns(id_).add(POLLS, entry)

    def _poll_turns(self, id_: int) -> Turns:
        """The turns for the poll of an id: those of isolated callers where only they watch it."""
        isolated = self.isolation.callers
        if not isolated:
            return self._polls
        watching = list(self._watching(id_))
        only = bool(watching) and all(caller.identity in isolated for caller in watching)
        return self._isolated if only else self._polls

    # --- batches ---

    def next_batch(self, limit: int, apart: Container[int]) -> Batch | None:
        """Take the entries whose turn it is, at most ``limit``; None where nothing may be sent now.

        ``apart`` has the ids that must be asked alone. An isolated batch holds up the next one until
        ``end_isolated``.
        """
        if self.isolation.callers:
            for caller in self.isolation.release():
                self._isolated.move(caller, self._turns)
        if not self.may_be_sent:
            return None
        batch = None
        if self._separate_is_next and (self._turns.alone or self._polls.alone or self._isolated.lines):
            self._separate_is_next = False
            batch = self._next_separate(limit, apart)
        if batch is None:
            batch = self._next_together(limit, apart)
            self._separate_is_next = batch is not None
            if batch is None:
                batch = self._next_separate(limit, apart)
                if batch is None:
                    return None
        for entry in batch.entries:
            if POLLS.identity in entry.askers:
                self._polled.pop(entry.id, None)
                entry.extend(self._clock() + self._deadline)
            self._queued.pop(entry.id, None)
            self._in_flight[entry.detail][entry.id] = entry
        return batch

    def _next_together(self, limit: int, apart: Container[int]) -> Batch | None:
        polled = len(self._polled) if self._polls.lines else 0
        if not polled:
            entries = self._turns.take(limit, apart)
        elif limit >= POLLS_SHARE:
            entries = self._turns.take(limit - min(polled, math.ceil(limit / POLLS_SHARE)), apart)
            entries += self._polls.take(limit - len(entries), apart)
            entries += self._turns.take(limit - len(entries), apart)
        else:
            self._polls_are_next_in = self._polls_are_next_in % POLLS_SHARE + 1
            first, then = self._turns, self._polls
            if self._polls_are_next_in == POLLS_SHARE:
                first, then = then, first
            entries = first.take(limit, apart)
            entries += then.take(limit - len(entries), apart)
        return Batch(entries, isolated=False) if entries else None

    def _next_separate(self, limit: int, apart: Container[int]) -> Batch | None:
        for _ in range(len(self._separate)):
            turns, alone = self._separate[0]
            self._separate.rotate(-1)
            isolated = turns is self._isolated
            if isolated and self._isolated_in_flight:
                continue
            entries = turns.take_alone() if alone else turns.take(limit, apart)
            if entries:
                self._isolated_in_flight = self._isolated_in_flight or isolated
                return Batch(entries, isolated)
        return None

    def end_isolated(self) -> None:
        """Allow the next isolated batch."""
        self._isolated_in_flight = False

    def blame(self, entries: Iterable[Entry], blamed: set[str], *, only_if_single: bool = False) -> None:
        """These entries spoiled a batch: blame the callers that asked for them, or watch them where they were polled.

        ``blamed``: identities of those already blamed for the same batch; the new ones are added. ``only_if_single``:
        of several callers none is blamed.
        """
        callers: dict[str, Caller] = {}
        for entry in entries:
            for identity, waiters in entry.askers.items():
                asking = self._watching(entry.id) if identity == POLLS.identity else (waiters[0].caller,)
                callers.update((caller.identity, caller) for caller in asking)
        if only_if_single and len(callers) > 1:
            return
        for identity in callers.keys() - blamed:
            blamed.add(identity)
            if self.isolation.blame(callers[identity]):
                self._isolate(callers[identity])

    def _isolate(self, caller: Caller) -> None:
        """Its ids share no request with those of others from now on; nor do polls for isolated callers alone."""
        self._turns.move(caller, self._isolated)
        for id_, entry in self._polled.items():
            if self._poll_turns(id_) is self._isolated:
                self._polls.remove(POLLS.identity, id_)
                self._isolated.add(POLLS, entry)

    # --- answers ---

    def answer(self, entry: Entry, answer: Update) -> int:
        """The answer of an entry in flight. Returns how many waiters go on, since it was their last one."""
        del self._in_flight[entry.detail][entry.id]
        return entry.answer(answer)

    def put_back(self, entries: Iterable[Entry]) -> None:
        """Let entries in flight wait again, each to be asked alone, at the heads of their callers' lines."""
        for entry in reversed(list(entries)):
            del self._in_flight[entry.detail][entry.id]
            queued = self._queued.get(entry.id) or self._polled.get(entry.id)
            if queued is not None:
                # Asked twice, with detail and without; one question now serves both.
                self._leave(queued)
                for waiter in queued.waiters:
                    entry.add(waiter, queued.detail)
            entry.ask_alone()
            self._polled.pop(entry.id, None)
            callers = [waiters[0].caller for waiters in entry.askers.values()]
            for caller in callers:
                if caller is POLLS:
                    if len(callers) == 1:
                        self._polled[entry.id] = entry
                        self._poll_turns(entry.id).put_back(caller, entry)
                else:
                    self._queued[entry.id] = entry
                    turns = self._isolated if caller.identity in self.isolation.callers else self._turns
                    turns.put_back(caller, entry)

    def refuse(self, failure: LookupFailure) -> None:
        """Answer everything that is queued, and leave alone what is in flight."""
        entries = [*self._queued.values(), *self._polled.values()]
        self._forget_queued()
        for entry in entries:
            entry.answer(failure)

    def close(self, failure: LookupFailure) -> None:
        """Answer everybody now, and forget everything."""
        for waiter in (*self._waiters, *self._polling):
            waiter.take_all(waiter.open, failure)
        self._waiters.clear()
        self._polling.clear()
        self._forget_queued()
        for entries in self._in_flight.values():
            entries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what is no longer queued ---

    def _is_wanted(self, entry: Entry, caller: Caller) -> bool:
        wanted = entry.is_asked_by(caller)
        if caller is POLLS:
            return wanted and any(True for _ in self._watching(entry.id))
        return wanted

    def _drop(self, entry: Entry, caller: Caller) -> None:
        """Remove a caller from an entry, and the entry where nobody else waits for it."""
        for waiter in entry.forget(caller):
            waiter.leave_out(entry.id)
        self._after_leaving(entry)

    def _after_leaving(self, entry: Entry) -> None:
        """One caller fewer waits for an entry; it stays for the others, or for the watcher."""
        if not entry.askers:
            self._queued.pop(entry.id, None)
            self._polled.pop(entry.id, None)
        elif entry.askers.keys() == {POLLS.identity} and self._queued.pop(entry.id, None) is not None:
            self._polled[entry.id] = entry
            self._poll_turns(entry.id).add(POLLS, entry)

    def _leave(self, entry: Entry) -> None:
        """Remove an entry from all lines."""
        for identity in entry.askers:
            for turns in (self._turns, self._isolated, self._polls):
                turns.remove(identity, entry.id)

    def _forget_queued(self) -> None:
        self._queued.clear()
        self._polled.clear()
        for turns in (self._turns, self._isolated, self._polls):
            turns.clear()

    def _expire(self) -> None:
        now = self._clock()
        while self._waiters and (self._waiters[0].done.done() or self._waiters[0].deadline <= now):
            waiter = self._waiters.popleft()
            waiter.take_all(waiter.open, DeadlinePassed("the deadline is over"))
        self._timer = None
        if self._waiters:
            left = max(self._waiters[0].deadline - now, 0.001)
            self._timer = asyncio.get_running_loop().call_later(left, self._expire)
