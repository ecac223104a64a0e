"""How much a caller may ask: ``RATE_LIMIT`` ids a second, in a token bucket for each caller."""

from collections import Counter, OrderedDict

from starlette.requests import Request
from starlette.responses import Response

from app.api.context import caller_of
from app.api.problems import problem
from app.api.request_context import is_head
from app.lookup.caller import Caller
from app.lookup.policy import Clock

BURST_SECONDS = 2.0
"""A full bucket holds what this much time brings: twice the rate."""
MAX_CALLERS = 10_000
"""Buckets kept: about 2 MB. Beyond, the least recently used is forgotten, which does its caller a favour."""
ROUNDING_SECONDS = 1e-6
"""Floating point must not refuse somebody who waited exactly as long as Retry-After said."""


class Quotas:
    """Token buckets. A bucket is the time at which it will be full; one that is full need not be kept.

    ``refused`` counts requests by the caller's label.
    """

    def __init__(self, clock: Clock, rate: float, max_callers: int = MAX_CALLERS) -> None:
        self._clock = clock
        self._rate = rate
        self._max_callers = max_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str, ids: int) -> float:
        """Take ids from a caller's bucket. Returns 0, or the seconds until they could be had: then nothing is taken.

        The bucket must hold all ids, or be full where they are more than it can hold; it may end below zero.
        """
        now = self._clock()
        missing = max(self._full_at.pop(caller, now) - now, 0.0)
        spare = max(BURST_SECONDS - ids / self._rate, 0.0)
        wait = missing - spare
        if wait <= ROUNDING_SECONDS:
            missing += ids / self._rate
            wait = 0.0
        self._full_at[caller] = now + missing
        self._forget(now)
        return wait

    def charge(self, caller: Caller, ids: int) -> float:
        """``take`` for a caller, and count where it is refused."""
        wait = self.take(caller.identity, ids)
        if wait:
            self.refused[caller.label] += 1
        return wait

    def _forget(self, now: float) -> None:
        """Drop buckets, the least recently used first: full ones, a few each time, and those beyond the limit."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._max_callers:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return


def over_quota(request: Request, quotas: Quotas, ids: int) -> Response | None:
    """Charge the caller for ids. Returns the problem to answer with where it is over its quota, else None.

    HEAD is free of charge.
    """
    if is_head(request.scope):
        return None
    wait = quotas.charge(caller_of(request.scope), ids)
    return problem(request.scope, "rate-limited", retry_after=wait) if wait else None
