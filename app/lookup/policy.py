"""When a request may be sent to the platform, and what its outcome means for the next ones.

``Policy`` is asked for a permit before each attempt and told the outcome after it. It puts together four parts, each
with one reason to send nothing: the credential lockout, the throttle, the circuit breaker, and for retries their
budget. No part of it sends anything or waits for anything.
"""

import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from app.lookup.clock import Clock
from app.lookup.failures import (
    CircuitOpen,
    LookupFailure,
    NotAsked,
    Throttled,
)
from app.telemetry.redaction import NotSecret

RETRY_PAUSE = (0.05, 0.25)
"""Seconds, drawn at random, before the second attempt: long enough for a server that restarts, short compared with the
deadline of 5 s."""

log = logging.getLogger(__name__)


class RetryBudget:
    """Keeps retries to a tenth of the traffic: a bucket that first attempts fill and retries empty.

    ``taken`` and ``refused`` count the retries that were asked for.
    """

    CAPACITY = 10.0
    EARNED = 0.1

    def __init__(self) -> None:
        self._tokens = self.CAPACITY
        self.taken = 0
        self.refused = 0

    def earn(self) -> None:
        """Add to the budget for one first attempt."""
        self._tokens = min(self.CAPACITY, self._tokens + self.EARNED)

    def take(self) -> bool:
        """Whether a retry may be made; takes its price."""
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.taken += 1
        return True


class CircuitBreaker:
    """Sends nothing to a failing platform: opens at half failures of at least ten attempts in ten seconds, for five."""

    WINDOW = 10.0
    LEAST_ATTEMPTS = 10
    FAILURE_RATIO = 0.5
    OPEN_SECONDS = 5.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._attempts: deque[tuple[float, bool]] = deque()
        self._failures = 0
        self._open_until: float | None = None
        self._probing = False

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open`` (a probe may go or is in flight)."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def blocked_by(self) -> CircuitOpen | None:
        """Why an attempt may not be made now, with the seconds to wait; None when it may."""
        if self._open_until is None:
            return None
        left = self._open_until - self._clock()
        if left > 0 or self._probing:
            return CircuitOpen("the circuit breaker is open", retry_after=max(left, 1.0))
        return None

    def begin(self) -> bool:
        """Mark an attempt as begun. Returns whether it is the probe that decides if the breaker closes."""
        self._probing = self._open_until is not None
        return self._probing

    def end(self, probe: bool, failed: bool | None) -> None:
        """Count an attempt; a probe closes the breaker, or opens it again. ``failed``: None where it says nothing."""
        if probe:
            self._probing = False
            if failed:
                self._open_until = self._clock() + self.OPEN_SECONDS
            elif failed is False:
                self._open_until = None
                log.info("the circuit breaker is closed: the platform answers again")
        elif failed is not None and self._open_until is None:
            self.count(failed)

    def count(self, failed: bool) -> None:
        """Add an attempt's result to the window, and open when the window says so."""
        now = self._clock()
        self._attempts.append((now, failed))
        self._failures += failed
        while self._attempts[0][0] <= now - self.WINDOW:
            self._failures -= self._attempts.popleft()[1]
        many = len(self._attempts) >= self.LEAST_ATTEMPTS
        if many and self._failures >= self.FAILURE_RATIO * len(self._attempts) and self._open_until is None:
            self._open_until = now + self.OPEN_SECONDS
            log.error(
                "the circuit breaker is open: at least half of the recent upstream requests failed, and nothing is "
                "sent for %g s",
                self.OPEN_SECONDS,
            )
            self._attempts.clear()
            self._failures = 0


class CredentialLockout:
    """Sends nothing after rejected credentials, so that the platform does not lock the account.

    After a rejection nothing is sent for a while; then one request goes first, and each repeat doubles the time, up to
    ``longest`` seconds.
    """

    LONGEST = 900.0

    def __init__(self, clock: Clock, longest: float = LONGEST) -> None:
        self._clock = clock
        self._longest = longest
        self._reason: LookupFailure | None = None
        self._until = 0.0
        self._seconds = 0.0
        self._probing = False
        # How often a lockout began, by what told that the credentials were rejected.
        self.held: Counter[str] = Counter()

    @property
    def reason(self) -> LookupFailure | None:
        """The rejection that began the lockout; None while there is none."""
        return self._reason

    def blocked_by(self) -> LookupFailure | None:
        """Why nothing may be sent, with the seconds left; None when something may."""
        if self._reason is None:
            return None
        left = self._until - self._clock()
        if left > 0 or self._probing:
            return type(self._reason)(
                "the credential lockout lasts",
                retry_after=max(left, 1.0),
                upstream_message=self._reason.upstream_message,
            )
        return None

    def begin(self) -> bool:
        """Mark an attempt as begun. Returns whether it is the first one after a lockout."""
        self._probing = self._reason is not None
        return self._probing

    def end(self, probe: bool, failure: LookupFailure | None, accepted: bool) -> None:
        """Begin, prolong or end the lockout after an attempt, which was rejected, accepted or neither."""
        if probe:
            self._probing = False
        if failure is not None and failure.locks_out:
            # Of several rejections in flight only one with a longer lockout replaces the present one; only the probe's
            # doubles the time.
            if probe or self._first(failure) > self._seconds:
                self._hold(failure, again=probe)
            failure.ask_again_after(self._seconds)
        elif accepted and probe:
            self.release()

    def release(self) -> None:
        """End the lockout."""
        self._reason = None
        self._seconds = 0.0
        self._probing = False

    def _first(self, failure: LookupFailure) -> float:
        return min(failure.lasts or 0.0, self._longest)

    def _hold(self, failure: LookupFailure, *, again: bool) -> None:
        seconds = self._first(failure)
        self._seconds = min(max(seconds, 2 * self._seconds), self._longest) if again else seconds
        self._reason = failure
        self._until = self._clock() + self._seconds
        self.held[failure.wording or ""] += 1
        log.error("%s: nothing is sent for %g s", NotSecret(failure.slug), self._seconds)


class Throttle:
    """Sends nothing until the platform's ``Retry-After`` is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0

    def blocked_by(self) -> Throttled | None:
        """Why nothing may be sent, with the seconds left; None when something may."""
        left = self._until - self._clock()
        return Throttled("the platform throttles", retry_after=left) if left > 0 else None

    def hold(self, seconds: float) -> None:
        """Send nothing for so many seconds."""
        self._until = max(self._until, self._clock() + seconds)


class Permit(NamedTuple):
    """The right to one attempt, to be settled when it has ended, however it ended.

    ``generation``: of the credentials in force. The probes are attempts on which a circuit breaker or lockout depends.
    """

    generation: int
    circuit_probe: bool
    lockout_probe: bool
    began_at: float

    @property
    def is_probe(self) -> bool:
        """Whether something depends on this attempt, so that it is not repeated."""
        return self.circuit_probe or self.lockout_probe


class Policy:
    """Permits attempts and learns from their outcomes.

    ``longest_lockout`` in seconds; ``jitter`` draws a number between two others. ``proven``: whether the platform has
    answered with the credentials in force.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        longest_lockout: float = CredentialLockout.LONGEST,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._generation = 0
        self.proven = False
        self.retry_budget = RetryBudget()
        self.circuit_breaker = CircuitBreaker(clock)
        self.lockout = CredentialLockout(clock, longest_lockout)
        self.throttle = Throttle(clock)

    def blocked_by(self) -> LookupFailure | None:
        """Why nothing may be sent now; None when something may."""
        return self.lockout.blocked_by() or self.throttle.blocked_by() or self.circuit_breaker.blocked_by()

    def permit(self, *, is_first: bool) -> Permit | LookupFailure:
        """Begin an attempt. ``is_first``: it adds to the retry budget. Returns a failure where nothing may be sent."""
        blocked = self.blocked_by()
        if blocked is not None:
            return blocked
        if is_first:
            self.retry_budget.earn()
        return Permit(self._generation, self.circuit_breaker.begin(), self.lockout.begin(), self._clock())

    def settle(self, permit: Permit, outcome: LookupFailure | None, *, alone: bool = False) -> LookupFailure | None:
        """An attempt has ended with an answer (None) or a failure. Returns why nothing may be sent now, or None.

        ``alone``: it was for one id under no suspicion.
        """
        failed = False if outcome is None else _verdict(outcome, permit.circuit_probe, alone)
        self.circuit_breaker.end(permit.circuit_probe, failed)
        # What was said about former credentials says nothing about those in force now.
        if not self.is_outdated(permit):
            self.lockout.end(permit.lockout_probe, outcome, accepted=outcome is None)
            self.proven = self.proven or outcome is None
        if isinstance(outcome, Throttled):
            self.throttle.hold(outcome.retry_after or 1.0)
        return self.blocked_by()

    def cancel(self, permit: Permit) -> None:
        """An attempt has ended without an outcome: it was cancelled. Another one may be the probe."""
        self.circuit_breaker.end(permit.circuit_probe, None)
        self.lockout.end(permit.lockout_probe, None, accepted=False)

    def is_outdated(self, permit: Permit) -> bool:
        """Whether the credentials have changed since the attempt began."""
        return permit.generation != self._generation

    def pause_before_retry(self, permit: Permit, failure: LookupFailure, seconds_left: float) -> float | None:
        """Seconds to wait before a second attempt, for which it takes from the budget; None where there is to be none.

        ``seconds_left``: until the last of those who wait runs out of time.
        """
        if not failure.retried or permit.is_probe or self.blocked_by() is not None:
            return None
        pause = self._jitter(*RETRY_PAUSE)
        return pause if pause < seconds_left and self.retry_budget.take() else None

    def credentials_changed(self) -> None:
        """End the lockout, and ignore what attempts with the former credentials meet."""
        self._generation += 1
        self.proven = False
        self.lockout.release()


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
