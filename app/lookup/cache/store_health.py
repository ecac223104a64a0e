"""Whether the shared store (Redis) can be read, written and listened to, and the time limit for its replies."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.lookup.clock import Clock
from app.telemetry.redaction import NotSecret

LATE_TURNS = 3

log = logging.getLogger(__name__)


@asynccontextmanager
async def time_limit(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError when the block takes longer.

    Unlike ``asyncio.timeout`` it looks at the sockets once more before it does. Where this process itself is late
    (one core, a throttled pod), a reply may have been there in time, and uvloop runs its timers first.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:
        next_step: list[asyncio.Handle] = []

        def expire(turns: int) -> None:
            if turns:
                next_step[:] = [loop.call_soon(expire, turns - 1)]
            else:
                limit.reschedule(loop.time())

        next_step.append(loop.call_later(seconds, expire, LATE_TURNS))
        try:
            yield
        finally:
            next_step[0].cancel()


class Health:
    """Whether one thing works: no more after five failures in a row, and then it is tried every two seconds.

    ``lost`` and ``found`` are the lines for the log at each change; the reason is added to the first.

    The platform's ``CircuitBreaker`` counts a share of failures in ten seconds: it would open only after some five
    seconds of slow lookups. This one opens after five failures in a row, and closes with the first success.
    """

    FAILURES_IN_A_ROW = 5
    PAUSE = 2.0

    def __init__(self, clock: Clock, *, lost: str, found: str) -> None:
        self._clock = clock
        self._lost = lost
        self._found = found
        self._row = 0
        self._until: float | None = None

    @property
    def good(self) -> bool:
        """Whether it works, as far as is known."""
        return self._until is None

    def may_try(self) -> bool:
        """Whether it works, or it is time to see whether it works again."""
        return self._until is None or self._clock() >= self._until

    def worked(self) -> None:
        """Record a success, and end the pause."""
        self._row = 0
        if self._until is not None:
            self._until = None
            log.info("%s", NotSecret(self._found))

    def failed(self, why: str, *, at_once: bool = False) -> None:
        """Record a failure; ``at_once``: it begins the pause by itself."""
        self._row += 1
        if at_once or self._until is not None or self._row >= self.FAILURES_IN_A_ROW:
            if self._until is None:
                log.warning("%s (%s)", NotSecret(self._lost), why)
            self._until = self._clock() + self.PAUSE
