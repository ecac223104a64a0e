"""A batch on its way, and the slots that say how many requests the platform may have at a time.

A flight has a slot from its departure to its end, or to the platform's reply where a full batch waits: while the reply
is read, the platform works on the next request already. A batch that is not full had better wait for those who come
back with the reply's answers. A flight that gave its slot away and must ask again waits for another.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from app.lookup.resilience import Clock
from app.lookup.waiting import Entry


class Slots:
    """The requests that the platform may have at a time.

    ``width`` says how many just now, ``pressing`` whether a batch waits that is worth a slot before a reply is read;
    ``on_free`` is called when one is free that no flight waits for.
    """

    def __init__(
        self,
        width: Callable[[], int],
        pressing: Callable[[], bool] = lambda: False,
        on_free: Callable[[], None] = lambda: None,
    ) -> None:
        self._width = width
        self.pressing = pressing
        self._on_free = on_free
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_use = 0

    @property
    def width(self) -> int:
        """How many there are."""
        return self._width()

    @property
    def free(self) -> bool:
        """Whether one is free for somebody new."""
        return not self._waiting and self.in_use < self._width()

    async def take(self) -> None:
        """Take one, as soon as there is one."""
        if self.free:
            self.in_use += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.give_back()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise

    def give_back(self) -> bool:
        """Give one to those who wait, the first of them first, or to a new flight. Returns whether anybody took one."""
        self.in_use -= 1
        left = self.in_use
        while self._waiting and self.in_use < self._width():
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self.in_use += 1
        if self.free:
            self._on_free()
        return self.in_use > left


class Flight:
    """A batch from its departure, with a slot that must be free, until everybody in it has an answer.

    ``open``: the entries without one, by id.
    """

    def __init__(self, batch: Iterable[Entry], slots: Slots, clock: Clock) -> None:
        self.open = {entry.id: entry for entry in batch}
        self._slots = slots
        self._clock = clock
        self._has_slot = True
        slots.in_use += 1

    @property
    def asked(self) -> dict[int, bool]:
        """The ids without an answer, with whether detail is wanted."""
        return {entry.id: entry.detail for entry in self.open.values()}

    def time_left(self) -> float:
        """Seconds until the last of those who wait runs out of time."""
        return max((entry.deadline for entry in self.open.values()), default=0.0) - self._clock()

    async def take_off(self) -> None:
        """To be called before each request: has a slot, or waits for one."""
        if not self._has_slot:
            await self._slots.take()
            self._has_slot = True

    def replied(self) -> bool:
        """The platform has nothing to do for this flight while its reply is read. Returns whether another leaves."""
        return self._slots.pressing() and self.land()

    def land(self) -> bool:
        """Give the slot back. Returns whether somebody took it."""
        if not self._has_slot:
            return False
        self._has_slot = False
        return self._slots.give_back()
