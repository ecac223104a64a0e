"""One bad id harms nobody else, and a missing id is not at once an unknown one.

The platform takes an array as a whole: one entry that it dislikes may get everybody refused, and nobody knows
whether it answers arrays whole. ``Isolation`` asks for a batch so that neither becomes a caller's wrong answer.
"""

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping

from app.lookup.failures import LookupFailure, MessageNotFound, RepeatedRequest
from app.lookup.flight import Flight
from app.lookup.guard import Guard
from app.lookup.platform import Answer
from app.lookup.resilience import Clock
from app.lookup.splitting import Search, Settle, settle_all
from app.lookup.states import MessageRecord

CULPRIT_SECONDS = 60.0
"""How long an id that spoiled a batch is asked alone."""
MAX_CULPRITS = 10_000
REPEATED_SECONDS = 60.0
"""How long the platform remembers a request, and refuses the same once more."""
MAX_WITHHELD = 100_000
BATCHING_OFF_SECONDS = 600.0
"""How long ids go one by one after the platform was seen to answer only part of an array."""
CONTROL_SECONDS = 600.0
"""How long an answered id serves as a control; messages do not vanish within minutes."""
MAX_CONTROLS = 8
CALLERS_PER_TURN = 25
"""How many callers are woken in one turn of the event loop. A hundred who go on at once make a long turn in which
nobody else is served, and come back all together with their next questions: then the service waits idly for the
platform, and the platform for the service."""

log = logging.getLogger(__name__)


class Isolation:
    """Asks for batches of at most ``batch_size`` ids; remembers who must be asked alone, and who is well known."""

    def __init__(self, guard: Guard, clock: Clock, *, batch_size: int) -> None:
        self._guard = guard
        self._clock = clock
        self._batch_size = batch_size
        self._culprits: dict[int, float] = {}
        self._batching_off_until = -math.inf
        self._known: dict[int, float] = {}
        self._withheld: dict[int, tuple[float, RepeatedRequest]] = {}

    @property
    def batch_limit(self) -> int:
        """How many ids one request may hold just now."""
        return self._batch_size if self.batching else 1

    @property
    def batching(self) -> bool:
        """Whether ids travel together, as far as the platform goes."""
        return self._clock() >= self._batching_off_until

    def goes_alone(self, id_: int) -> bool:
        """Whether the id spoiled a batch not long ago."""
        until = self._culprits.get(id_)
        if until is None:
            return False
        if until <= self._clock():
            del self._culprits[id_]
            return False
        return True

    def withhold(self, id_: int, why: RepeatedRequest) -> None:
        """The platform says that it was asked the same a moment ago: the id is not asked for again until it forgets."""
        self._withheld.pop(id_, None)
        self._withheld[id_] = self._clock() + REPEATED_SECONDS, why
        if len(self._withheld) > MAX_WITHHELD:
            del self._withheld[next(iter(self._withheld))]

    def withheld(self, id_: int) -> RepeatedRequest | None:
        """Why an id may not be asked for now, with the seconds to wait; None where it may."""
        withheld = self._withheld.get(id_)
        if withheld is None:
            return None
        until, why = withheld
        left = until - self._clock()
        if left <= 0:
            del self._withheld[id_]
            return None
        return RepeatedRequest(str(why), retry_after=left, upstream_message=why.upstream_message)

    def forget_controls(self) -> None:
        """Another account asks from now on, perhaps, whose messages are others."""
        self._known.clear()

    async def ask(self, asked: Mapping[int, bool], flight: Flight, settle: Settle) -> list[int]:
        """Ask for a batch: ids with whether detail is wanted.

        ``settle`` is called once for each id as soon as its answer is known, except for those that are returned:
        they must be asked again, each alone. Never raises LookupFailure.
        """
        suspected = len(asked) == 1 and self.goes_alone(next(iter(asked)))
        try:
            answers = await self._guard.ask(asked, flight, suspected=suspected)
        except LookupFailure as failure:
            if failure.splits and len(asked) > 1:
                missing = await self._split(asked, failure, flight, settle)
            else:
                if failure.splits:
                    self._refused_alone(next(iter(asked)))
                return settle_all(asked, failure, settle)
        else:
            missing = await self._accept(asked, answers, settle)
        if not missing:
            return []
        return await self._ask_again({id_: asked[id_] for id_ in missing}, flight, settle)

    async def _accept(self, asked: Mapping[int, bool], answers: Mapping[int, Answer], settle: Settle) -> list[int]:
        """Settle what a reply answers, a few callers a turn. Returns the ids that a reply to several leaves out."""
        woken = 0
        for id_, answer in answers.items():
            woken += settle(id_, answer)
            if woken >= CALLERS_PER_TURN:
                woken = 0
                await asyncio.sleep(0)
        known = next((id_ for id_, answer in answers.items() if isinstance(answer, MessageRecord)), None)
        if known is not None:
            self._remember(known)
        missing = [id_ for id_ in asked if id_ not in answers]
        if len(asked) > 1:
            return missing
        return settle_all(missing, MessageNotFound("the reply leaves it out"), settle)

    # --- blast radius one ---

    async def _split(
        self, asked: Mapping[int, bool], refusal: LookupFailure, flight: Flight, settle: Settle
    ) -> list[int]:
        """Halve a refused batch until each culprit stands alone. Returns the ids that accepted parts leave out."""
        return await Search(self._guard, asked, flight, settle, self._accept, blame=self._blame).run(refusal)

    def _blame(self, ids: Iterable[int]) -> None:
        now = self._clock()
        if len(self._culprits) > MAX_CULPRITS:
            self._culprits = {id_: until for id_, until in self._culprits.items() if until > now}
        for id_ in ids:
            self._culprits[id_] = now + CULPRIT_SECONDS
            self._known.pop(id_, None)

    def _refused_alone(self, id_: int) -> None:
        # It cannot vouch for others any more, but only who spoiled a batch is a culprit.
        self._known.pop(id_, None)
        if id_ in self._culprits:
            self._blame([id_])

    # --- missing is not unknown ---

    async def _ask_again(self, missing: dict[int, bool], flight: Flight, settle: Settle) -> list[int]:
        """Ask again for ids that a reply to several left out, with an id at the end that the platform knows."""
        control = self._control(missing)
        if control is None:
            control = await self._ask_for_the_rest(missing, flight, settle)
        if control is None:
            return []
        ids = [id_ for id_ in missing if id_ != control]
        chunk_size = max(1, self._batch_size - 1)
        for start in range(0, len(ids), chunk_size):
            chunk = {id_: missing[id_] for id_ in ids[start : start + chunk_size]}
            try:
                answers = await self._guard.ask({**chunk, control: False}, flight, retry=False)
            except LookupFailure as failure:
                settle_all(chunk, failure, settle)
                continue
            whole = control in answers
            for id_ in chunk.keys() & answers.keys():
                settle(id_, answers[id_])
            still_missing = [id_ for id_ in chunk if id_ not in answers]
            if not whole:
                self._stop_batching()
                return still_missing + ids[start + chunk_size :]
            settle_all(still_missing, MessageNotFound("two replies leave it out"), settle)
        return []

    def _remember(self, id_: int) -> None:
        self._known.pop(id_, None)
        self._known[id_] = self._clock()
        if len(self._known) > MAX_CONTROLS:
            del self._known[next(iter(self._known))]

    def _control(self, missing: Mapping[int, bool]) -> int | None:
        oldest = self._clock() - CONTROL_SECONDS
        known = reversed(self._known.items())
        return next((id_ for id_, seen in known if seen >= oldest and id_ not in missing), None)

    async def _ask_for_the_rest(self, missing: dict[int, bool], flight: Flight, settle: Settle) -> int | None:
        """Nobody is known: the last of the missing, whom a cut array would lose first, stands for the rest.

        Returns its id as a control when the platform knows it after all; otherwise everybody has an answer.
        """
        last = next(reversed(missing))
        try:
            answers = await self._guard.ask({last: missing[last]}, flight, retry=False)
        except LookupFailure as failure:
            settle_all(missing, failure, settle)
            return None
        if last not in answers:
            settle_all(missing, MessageNotFound("the reply leaves it out"), settle)
            return None
        await self._accept({last: missing[last]}, answers, settle)
        return last

    def _stop_batching(self) -> None:
        if self.batching:
            log.error(
                "the platform does not answer arrays whole: for %g s each id is asked alone (set UPSTREAM_BATCH_SIZE=1 "
                "if this repeats)",
                BATCHING_OFF_SECONDS,
            )
        self._batching_off_until = self._clock() + BATCHING_OFF_SECONDS
