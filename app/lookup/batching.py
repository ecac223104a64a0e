"""What has been learned of the platform about arrays: which ids go alone, which can be a canary, how many may travel.

The rules themselves are in ``resolution.py``; this is their memory between batches.
"""

import logging
import math
from collections import OrderedDict
from collections.abc import Collection, Container, Iterable

from app.lookup.clock import Clock
from app.lookup.failures import RepeatedRequest
from app.lookup.resolution import Findings

POISON_SECONDS = 60.0
"""How long an id that spoiled a batch is asked alone."""
MAX_POISON = 10_000
MAX_WITHHELD = 100_000
BATCHING_OFF_SECONDS = 600.0
"""How long ids go one by one after the platform was seen to answer only part of an array."""
CANARY_SECONDS = 600.0
"""How long an answered id serves as a canary; messages do not vanish within minutes."""
MAX_CANARIES = 8

log = logging.getLogger(__name__)


class Batching:
    """Limits of batches. ``batch_size``: ids in one request. ``repeated``: ids not to be asked for now,
    and until when; may hold some whose time is over."""

    def __init__(self, clock: Clock, *, batch_size: int) -> None:
        self._clock = clock
        self.batch_size = batch_size
        self._poison_until: OrderedDict[int, float] = OrderedDict()
        self._off_until = -math.inf
        self._known_at: dict[int, float] = {}
        self.repeated: dict[int, tuple[float, RepeatedRequest]] = {}

    @property
    def enabled(self) -> bool:
        """Whether ids travel together, as far as the platform goes."""
        return self._clock() >= self._off_until

    @property
    def limit(self) -> int:
        """How many ids one request may hold now."""
        return self.batch_size if self.enabled else 1

    @property
    def poison(self) -> Container[int]:
        """The ids that spoiled a batch not long ago, to be asked alone."""
        now = self._clock()
        while self._poison_until and next(iter(self._poison_until.values())) <= now:
            self._poison_until.popitem(last=False)
        return self._poison_until

    def is_poison(self, id_: int) -> bool:
        """Whether the id spoiled a batch not long ago."""
        return id_ in self.poison

    def answered_since(self, time: float) -> bool:
        """Whether the platform has answered anybody with a state after this time of the clock."""
        return any(seen > time for seen in self._known_at.values())

    def canary(self, avoid: Collection[int]) -> int | None:
        """The id answered last that is none of ``avoid``; None where none was answered lately."""
        oldest = self._clock() - CANARY_SECONDS
        known = reversed(self._known_at.items())
        return next((id_ for id_, seen in known if seen >= oldest and id_ not in avoid), None)

    def withhold(self, id_: int, why: RepeatedRequest) -> None:
        """Do not ask for this id as long as the platform remembers the request, and would reject it once more."""
        self.repeated.pop(id_, None)
        self.repeated[id_] = self._clock() + RepeatedRequest.lasts, why
        if len(self.repeated) > MAX_WITHHELD:
            del self.repeated[next(iter(self.repeated))]

    def withheld(self, id_: int) -> RepeatedRequest | None:
        """Why an id may not be asked for now, with the seconds to wait; None where it may."""
        withheld = self.repeated.get(id_)
        if withheld is None:
            return None
        until, why = withheld
        left = until - self._clock()
        if left <= 0:
            del self.repeated[id_]
            return None
        return RepeatedRequest(str(why), retry_after=left, upstream_message=why.upstream_message)

    def forget_canaries(self) -> None:
        """Forget the canary ids: new credentials may belong to another account."""
        self._known_at.clear()

    def learn(self, findings: Findings) -> None:
        """Remember what one reply has shown."""
        if findings.known is not None:
            self._known_at.pop(findings.known, None)
            self._known_at[findings.known] = self._clock()
            if len(self._known_at) > MAX_CANARIES:
                del self._known_at[next(iter(self._known_at))]
        if findings.poison:
            self._blame(findings.poison)
        if findings.refused is not None:
            # It cannot be a canary any more, but only an id that spoiled a batch is poison.
            self._known_at.pop(findings.refused, None)
            if findings.refused in self._poison_until:
                self._blame([findings.refused])
        if findings.arrays_are_cut:
            self._stop()

    def _blame(self, ids: Iterable[int]) -> None:
        for id_ in ids:
            # At the end, so that the oldest are always first.
            self._poison_until.pop(id_, None)
            self._poison_until[id_] = self._clock() + POISON_SECONDS
            self._known_at.pop(id_, None)
        while len(self._poison_until) > MAX_POISON:
            self._poison_until.popitem(last=False)

    def _stop(self) -> None:
        if self.enabled:
            log.error(
                "the platform does not answer arrays whole: for %g s each id is asked alone (set UPSTREAM_BATCH_SIZE=1 "
                "if this repeats)",
                BATCHING_OFF_SECONDS,
            )
        self._off_until = self._clock() + BATCHING_OFF_SECONDS
