"""Who waits for what, and until when."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from enum import StrEnum

from app.lookup.failures import DeadlinePassed, LookupFailure
from app.lookup.platform import Answer
from app.lookup.resilience import Clock


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    JOINED = "joined"
    """From a request for somebody who had asked before."""
    UPSTREAM = "upstream"
    REFUSED = "refused"
    """From nowhere: the platform was not asked."""


Take = Callable[[int, Answer, Source], None]
"""Takes each answer to a question as soon as it is there."""


class Caller:
    """One caller's question: the ids that are still ``open``, those that it ``joined``, and who takes the answers.

    ``span`` is the caller's place in a trace, ``request_id`` its request in the log, where there is one.
    """

    __slots__ = ("_take", "deadline", "done", "joined", "open", "request_id", "span")

    def __init__(
        self,
        take: Take,
        deadline: float,
        done: asyncio.Future[None],
        span: object = None,
        request_id: str | None = None,
    ) -> None:
        self._take = take
        self.deadline = deadline
        self.done = done
        self.span = span
        self.request_id = request_id
        self.open: set[int] = set()
        self.joined: set[int] = set()

    def take(self, id_: int, answer: Answer, source: Source = Source.UPSTREAM) -> bool:
        """One answer; the last one ends the wait. Whether it was that."""
        if self.done.done():
            return False
        self.open.discard(id_)
        try:
            self._take(id_, answer, Source.JOINED if id_ in self.joined else source)
        except Exception as defect:
            # What a caller does with an answer must not harm those who wait for the same reply.
            self.done.set_exception(defect)
            return True
        if self.open:
            return False
        self.done.set_result(None)
        return True

    def refuse(self, ids: Collection[int], why: LookupFailure) -> None:
        """Answer what is not asked for at all."""
        self.open.update(ids)
        for id_ in ids:
            self.take(id_, why, Source.REFUSED)

    def give_up(self, failure: LookupFailure) -> None:
        """Answer everything that is still open."""
        for id_ in list(self.open):
            self.take(id_, failure)


class Entry:
    """One id on its way to the platform, with everybody who waits for it."""

    __slots__ = ("alone", "callers", "deadline", "detail", "id")

    def __init__(self, id_: int, detail: bool) -> None:
        self.id = id_
        self.detail = detail
        self.alone = False
        self.deadline = 0.0
        self.callers: list[Caller] = []

    def join(self, caller: Caller) -> None:
        """One more who waits; the entry lives as long as any of them has time."""
        self.callers.append(caller)
        self.deadline = max(self.deadline, caller.deadline)
        caller.open.add(self.id)

    def answer(self, answer: Answer) -> int:
        """Tell everybody who waits. Returns how many of them go on."""
        woken = 0
        for caller in self.callers:
            woken += caller.take(self.id, answer)
        return woken

    @property
    def wanted(self) -> bool:
        """Whether anybody still waits."""
        for caller in self.callers:  # noqa: SIM110 - any() makes a generator for each id
            if not caller.done.done():
                return True
        return False


class Deadlines:
    """Ends the wait of callers whose time is over.

    All deadlines are equally long, so the oldest caller is always the first to run out: a queue and one timer serve
    any number of them.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._callers: deque[Caller] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def next(self) -> float:
        """The deadline of a caller that comes now."""
        return self._clock() + self._seconds

    def watch(self, caller: Caller) -> None:
        """Answer the caller when its deadline comes."""
        while self._callers and self._callers[0].done.done():
            self._callers.popleft()
        self._callers.append(caller)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def answer_all(self, failure: LookupFailure) -> None:
        """Answer everybody now, and forget them."""
        for caller in self._callers:
            caller.give_up(failure)
        self._callers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        now = self._clock()
        while self._callers and (self._callers[0].done.done() or self._callers[0].deadline <= now):
            self._callers.popleft().give_up(DeadlinePassed("the deadline is over"))
        self._timer = None
        if self._callers:
            left = max(self._callers[0].deadline - now, 0.001)
            self._timer = asyncio.get_running_loop().call_later(left, self._expire)
