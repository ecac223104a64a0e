"""Calm under faults: four small parts that each know one reason to leave the platform alone.

``app/lookup/guard.py`` is where they meet.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping

from app.lookup.failures import AccountLocked, CircuitOpen, CredentialsRejected, LookupFailure, Throttled
from app.telemetry.redaction import Own

Clock = Callable[[], float]
"""Monotonic seconds."""

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
        """A first attempt was made."""
        self._tokens = min(self.CAPACITY, self._tokens + self.EARNED)

    def take(self) -> bool:
        """Whether a retry may be made; takes its price."""
        if self._tokens < 1:
            self.refused += 1
            return False
        self._tokens -= 1
        self.taken += 1
        return True


class Circuit:
    """Leaves a sick platform alone: opens at half failures of at least ten attempts in ten seconds, for five."""

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
        """``closed``, ``open`` or ``half-open`` (a probe may go or is on its way)."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half-open"

    def refusal(self) -> CircuitOpen | None:
        """Why an attempt may not be made now, with the seconds to wait; None when it may."""
        if self._open_until is None:
            return None
        left = self._open_until - self._clock()
        if left > 0 or self._probing:
            return CircuitOpen("the circuit is open", retry_after=max(left, 1.0))
        return None

    def begin(self) -> bool:
        """An attempt starts. Returns whether it is the probe on which the circuit's fate hangs."""
        self._probing = self._open_until is not None
        return self._probing

    def end(self, probe: bool, failed: bool | None) -> None:
        """An attempt ended; ``failed`` is None where it says nothing about the platform."""
        if probe:
            self._probing = False
            if failed:
                self._open_until = self._clock() + self.OPEN_SECONDS
            elif failed is False:
                self._open_until = None
                log.info("the circuit is closed: the platform answers again")
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
            log.error("the circuit is open: the platform fails too often and is left alone")
            self._attempts.clear()
            self._failures = 0


class Latch:
    """Keeps rejected credentials at home, so that the platform does not lock the account.

    After a rejection nothing leaves for a while; then one request goes first, and each repeat doubles the time, up to
    ``longest`` seconds.
    """

    SECONDS: Mapping[type[LookupFailure], float] = {CredentialsRejected: 60.0, AccountLocked: 300.0}
    LONGEST = 900.0

    def __init__(self, clock: Clock, longest: float = LONGEST) -> None:
        self._clock = clock
        self._longest = longest
        self._reason: LookupFailure | None = None
        self._until = 0.0
        self._seconds = 0.0
        self._probing = False
        # How often credentials were kept at home, by what told that they were rejected.
        self.held: Counter[str] = Counter()

    @property
    def reason(self) -> LookupFailure | None:
        """The rejection that holds the latch; None while it is released."""
        return self._reason

    def refusal(self) -> LookupFailure | None:
        """Why nothing may leave, with the seconds left; None when something may."""
        if self._reason is None:
            return None
        left = self._until - self._clock()
        if left > 0 or self._probing:
            return type(self._reason)(
                "the latch holds", retry_after=max(left, 1.0), upstream_message=self._reason.upstream_message
            )
        return None

    def begin(self) -> bool:
        """An attempt starts. Returns whether it is the one that goes first after the latch's time."""
        self._probing = self._reason is not None
        return self._probing

    def end(self, probe: bool, failure: LookupFailure | None, accepted: bool) -> None:
        """An attempt ended: with a rejection, accepted, or with something that says nothing about credentials."""
        if probe:
            self._probing = False
        if failure is not None and type(failure) in self.SECONDS:
            # Of several that were in flight together only a worse rejection holds anew, and none doubles the time.
            if probe or self._first(failure) > self._seconds:
                self._hold(failure, again=probe)
            failure.retry_after = self._seconds
        elif accepted and probe:
            self.release()

    def release(self) -> None:
        """The credentials are good, or new."""
        self._reason = None
        self._seconds = 0.0
        self._probing = False

    def _first(self, failure: LookupFailure) -> float:
        return min(self.SECONDS[type(failure)], self._longest)

    def _hold(self, failure: LookupFailure, *, again: bool) -> None:
        seconds = self._first(failure)
        self._seconds = min(max(seconds, 2 * self._seconds), self._longest) if again else seconds
        self._reason = failure
        self._until = self._clock() + self._seconds
        self.held[failure.wording or ""] += 1
        log.error("%s: nothing is sent for %g s", Own(failure.slug), self._seconds)


class Pause:
    """Nothing leaves until the platform's ``Retry-After`` is over."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = 0.0

    def refusal(self) -> Throttled | None:
        """Why nothing may leave, with the seconds left; None when something may."""
        left = self._until - self._clock()
        return Throttled("the platform throttles", retry_after=left) if left > 0 else None

    def hold(self, seconds: float) -> None:
        """The platform asked for this much time."""
        self._until = max(self._until, self._clock() + seconds)
