"""One caller's question, and one id with everybody who asks for it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum

from app.lookup.caller import INTERNAL, Caller
from app.lookup.lifetimes import Update


class Source(StrEnum):
    """Where an answer came from."""

    CACHE = "cache"
    JOINED = "joined"
    """From a request for somebody who had asked before."""
    UPSTREAM = "upstream"
    REFUSED = "refused"
    """From nowhere: the platform was not asked."""

    __hash__ = str.__hash__  # that of an Enum is a call in Python, for each count


OnAnswer = Callable[[int, Update, Source], None]
"""Takes each answer to a question as soon as it is there, as the cache keeps it where it does."""


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

    def join(self, id_: int) -> None:
        """Wait for an id that somebody has asked for before."""
        self.open.add(id_)
        self._joined.add(id_)

    def take(self, id_: int, answer: Update, source: Source = Source.UPSTREAM) -> bool:
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

    def take_all(self, ids: Iterable[int], answer: Update, source: Source = Source.UPSTREAM) -> None:
        """Take the same answer for several ids."""
        for id_ in list(ids):
            self.take(id_, answer, source)

    def leave_out(self, id_: int) -> None:
        """Wait no longer for an id: there will be no answer, and nobody who wants one."""
        self.open.discard(id_)
        if not (self.open or self.done.done()):
            self.done.set_result(None)


class Entry:
    """One id that is queued or in flight, with everybody who asks for it, by the identities of their callers.

    ``alone``: it must be asked alone. ``deadline``: until when anybody waits for it.
    """

    __slots__ = ("alone", "askers", "deadline", "detail", "id")

    def __init__(self, id_: int, detail: bool, waiter: Waiter) -> None:
        self.id = id_
        self.detail = detail
        self.alone = False
        self.deadline = waiter.deadline
        self.askers: dict[str, list[Waiter]] = {waiter.caller.identity: [waiter]}
        waiter.open.add(id_)

    @property
    def waiters(self) -> Iterator[Waiter]:
        """Everybody who has asked for it, also those who have left."""
        for same_caller in self.askers.values():
            yield from same_caller

    def add(self, waiter: Waiter, detail: bool) -> bool:
        """One more who waits. Returns whether it is the first question of its caller."""
        waiter.join(self.id)
        self.detail = self.detail or detail
        self.deadline = max(self.deadline, waiter.deadline)
        same_caller = self.askers.setdefault(waiter.caller.identity, [])
        same_caller.append(waiter)
        return len(same_caller) == 1

    def extend(self, deadline: float) -> None:
        """Move the deadline to at least this second."""
        self.deadline = max(self.deadline, deadline)

    def ask_alone(self) -> None:
        """Require that this id is sent alone."""
        self.alone = True

    def forget(self, caller: Caller) -> list[Waiter]:
        """Remove a caller. Returns its waiters."""
        return self.askers.pop(caller.identity)

    def is_asked_by(self, caller: Caller) -> bool:
        """Whether a question of this caller still waits."""
        for waiter in self.askers[caller.identity]:  # noqa: SIM110 - any() makes a generator for each id
            if not waiter.done.done():
                return True
        return False

    def answer(self, answer: Update, source: Source = Source.UPSTREAM) -> int:
        """Answer everybody. Returns how many go on, since it was their last answer."""
        going_on = 0
        for same_caller in self.askers.values():
            for waiter in same_caller:
                going_on += waiter.take(self.id, answer, source)
        return going_on
