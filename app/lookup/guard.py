"""Between a question and the platform: the one place where the parts of ``resilience`` meet.

Around a question the retry; before each attempt a slot, the credential latch, the platform's own pause (429) and the
circuit; around the attempt the time that is left. The callers' deadline is the batcher's.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from app.lookup.failures import (
    AccountLocked,
    CredentialsRejected,
    DeadlinePassed,
    LookupFailure,
    NotAsked,
    Throttled,
    TimedOut,
)
from app.lookup.flight import Flight
from app.lookup.platform import Answer, Platform
from app.lookup.resilience import Circuit, Clock, Latch, Pause, RetryBudget
from app.telemetry.redaction import Own

RETRY_PAUSE = (0.05, 0.25)
"""Seconds of full jitter before the second attempt: long enough for a restart's gap, short in a 5 s deadline."""
UNPROVEN_WIDTH = 2
"""Requests at a time until the platform has answered once: wrong credentials must not be tried many times."""

log = logging.getLogger(__name__)


class Guard:
    """Asks the platform, calmly.

    ``attempt_timeout`` and ``longest_lockout`` in seconds; ``on_shut`` is called whenever a fault closes the way to the
    platform, so that nobody waits in a queue for it.
    """

    def __init__(
        self,
        platform: Platform,
        clock: Clock,
        *,
        attempt_timeout: float,
        longest_lockout: float = Latch.LONGEST,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._platform = platform
        self._attempt_timeout = attempt_timeout
        self._jitter = jitter
        self._proven = False
        self.budget = RetryBudget()
        self.circuit = Circuit(clock)
        self.latch = Latch(clock, longest_lockout)
        self.pause = Pause(clock)
        self.on_shut: Callable[[], None] = lambda: None
        # Called when the platform rejects the credentials: is there a newer secret that nobody noticed yet?
        self.renew: Callable[[], object] = lambda: None
        # Called after each attempt with its result ("ok" or a problem's slug), its seconds and its entries.
        self.observe: Callable[[str, float, int], None] = lambda _result, _seconds, _entries: None
        self._clock = clock
        self._generation = 0

    def refusal(self) -> LookupFailure | None:
        """Why nothing can be asked just now; None when something can."""
        return self.latch.refusal() or self.pause.refusal() or self.circuit.refusal()

    def width(self, slots: int) -> int:
        """How many of the slots may be used."""
        return slots if self._proven else min(slots, UNPROVEN_WIDTH)

    def credentials_changed(self) -> None:
        """The secret is another one: it deserves a try of its own."""
        self._generation += 1
        self._proven = False
        self.latch.release()

    async def ask(
        self, asked: Mapping[int, bool], flight: Flight, *, retry: bool = True, suspected: bool = False
    ) -> dict[int, Answer]:
        """Ask, and once more after a failure that a second attempt may mend. Raises LookupFailure.

        ``retry=False``: an extra question about a reply, which neither earns nor spends the retry budget.
        ``suspected``: an empty reply says more about these ids than about the platform.
        """
        alone = len(asked) == 1 and not suspected
        if retry:
            self.budget.earn()
        probe = self.circuit.state != "closed" or self.latch.reason is not None
        generation = self._generation
        try:
            return await self._attempt(asked, flight, alone)
        except (CredentialsRejected, AccountLocked):
            if self._generation == generation:
                raise
        except LookupFailure as failure:
            if not (retry and failure.retried) or probe or self.refusal() is not None:
                raise
            pause = self._jitter(*RETRY_PAUSE)
            if flight.time_left() <= pause or not self.budget.take():
                raise
            await asyncio.sleep(pause)
            if self.refusal() is not None:
                raise
        return await self._attempt(asked, flight, alone)

    async def _attempt(self, asked: Mapping[int, bool], flight: Flight, alone: bool) -> dict[int, Answer]:
        await flight.take_off()
        refusal = self.refusal()
        if refusal is not None:
            raise refusal
        time_left = flight.time_left()
        if time_left <= 0:
            raise DeadlinePassed("the deadline is over")
        generation = self._generation
        started = self._clock()
        latch_probe, circuit_probe = self.latch.begin(), self.circuit.begin()
        failure: LookupFailure | None = None
        verdict: bool | None = None
        answered = False
        try:
            answers = await self._send(asked, time_left, flight.replied)
            answered, verdict = True, False
        except LookupFailure as error:
            failure, verdict = error, _verdict(error, circuit_probe, alone)
            raise
        finally:
            # Also reached without a verdict, when the service stops: a probe must never stay under way.
            self.circuit.end(circuit_probe, verdict)
            if isinstance(failure, CredentialsRejected | AccountLocked):
                self.renew()
            # What was said about former credentials says nothing about those in force now.
            if generation == self._generation:
                self.latch.end(latch_probe, failure, accepted=answered)
                self._proven = self._proven or answered
            result = failure.slug if failure is not None else "ok" if answered else "cancelled"
            self.observe(result, self._clock() - started, len(asked))
            if failure is not None:
                self._note(failure, len(asked))
        return answers

    async def _send(
        self, asked: Mapping[int, bool], time_left: float, replied: Callable[[], bool]
    ) -> dict[int, Answer]:
        try:
            async with asyncio.timeout(min(time_left, self._attempt_timeout)):
                answers = await self._platform.ask(asked, replied if self._proven else lambda: False)
        except TimeoutError:
            # An attempt that was cut short by its callers' deadline says little about the platform.
            if time_left < self._attempt_timeout / 2:
                raise DeadlinePassed("the deadline is over") from None
            raise TimedOut("the platform did not answer in time") from None
        rejected = [answer for answer in answers.values() if isinstance(answer, CredentialsRejected | AccountLocked)]
        if rejected and len(rejected) == len(answers):
            # Every entry carries the credentials, so the platform may reject them entry by entry.
            raise rejected[0]
        return answers

    def _note(self, failure: LookupFailure, entries: int) -> None:
        why = {"why": str(failure), "entries": entries}
        log.log(failure.log_level, "upstream request failed: %s", Own(failure.slug), extra={"fields": why})
        if isinstance(failure, Throttled):
            self.pause.hold(failure.retry_after or 1.0)
        if self.refusal() is not None:
            self.on_shut()


def _verdict(failure: LookupFailure, probe: bool, alone: bool) -> bool | None:
    """Whether an attempt counts as failed; None where it does not count.

    ``alone``: it was for one id that is under no suspicion.
    """
    if failure.counted or (failure.counted_alone and alone):
        return True
    if failure.counted_alone:
        return None
    # Error texts, credentials and 429 count neither way, but they do show that the platform is back.
    return False if probe and not isinstance(failure, NotAsked) else None
