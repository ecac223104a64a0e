"""From a batch and the platform's replies to an answer for each of its ids. Pure: no network, no clock, no asyncio.

One bad entry can make the platform refuse a whole array, and the platform may answer only a part of an array. So one
batch may need several requests, one after the other:

- **bisection**: a refused batch is halved, the largest part first, until each poison id stands alone;
- **canary**: ids that a reply to several leaves out are asked again, with an id at the end that the platform knows.
  Where the canary is answered, the ids are unknown; where it is missing too, the platform does not answer arrays whole.

    resolution = Resolution({1: False, 2: False}, batch_size=100, find_canary=lambda avoid: None)
    while resolution.request is not None:
        findings = resolution.receive(send(resolution.request.asked))   # answers, and what was learned
"""

import math
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, field

from app.lookup.failures import LookupFailure, MessageNotFound, NotAsked
from app.lookup.record import Answer, MessageRecord

RequestResult = Mapping[int, Answer] | LookupFailure
"""What became of a request: the answers of its reply, or why there are none."""
FindCanary = Callable[[Collection[int]], int | None]
"""An id that the platform has answered lately and that is none of these; None where there is none."""
PickTwo = Callable[[list[list[int]]], Collection[int]]
"""Chooses up to two ids of parts that have not been asked: if both are refused alone, probably all are."""


def two_of_the_middle(parts: list[list[int]]) -> Collection[int]:
    """An id of the first part, and one of the last."""
    return {part[len(part) // 2] for part in (parts[0], parts[-1])}


@dataclass(frozen=True, slots=True)
class Request:
    """The ids to ask, each with whether detail is wanted.

    ``extra``: not the first request of its batch, and never retried. ``splits``: part of a refused batch.
    """

    asked: Mapping[int, bool]
    extra: bool
    splits: bool = False


@dataclass(slots=True)
class Findings:
    """What one outcome has brought.

    ``answers``: of ids of the batch, each id once in a resolution. ``alone``: ids that have to be asked again, each
    alone. ``poison``: ids that spoiled the batch. ``refused``: an id that was refused where it was asked alone.
    ``known``: an id that the platform has answered with a state. ``arrays_are_cut``: the platform does not answer
    arrays whole. ``all_refused``: nothing was accepted, so no single id is to blame.
    """

    answers: list[tuple[int, Answer]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    poison: list[int] = field(default_factory=list)
    refused: int | None = None
    known: int | None = None
    arrays_are_cut: bool = False
    all_refused: bool = False


class Resolution:
    """The requests of one batch. ``request`` is the one to send next; None once every id is answered or ``alone``.

    ``asked``: ids with whether detail is wanted.
    """

    def __init__(
        self,
        asked: Mapping[int, bool],
        *,
        batch_size: int,
        find_canary: FindCanary,
        pick_two: PickTwo = two_of_the_middle,
    ) -> None:
        self._asked = asked
        self._batch_size = batch_size
        self._find_canary = find_canary
        self._pick_two = pick_two
        self._findings = Findings()
        self._shut: LookupFailure | None = None
        self._known: int | None = None
        self._steps = self._first()
        self.request: Request | None = next(self._steps)

    def receive(self, outcome: RequestResult, shut: LookupFailure | None = None) -> Findings:
        """Take the outcome of ``request``, and find the next one.

        ``shut``: why nothing more may be sent, where that is so after a failure.
        """
        if isinstance(outcome, LookupFailure):
            self._shut = shut or (outcome if isinstance(outcome, NotAsked) else None)
        try:
            self.request = self._steps.send(outcome)
        except StopIteration:
            self.request = None
        findings, self._findings = self._findings, Findings()
        return findings

    # Each step yields requests, and gets their outcomes.

    def _first(self) -> Generator[Request, RequestResult, None]:
        outcome = yield Request(self._asked, extra=False)
        if not isinstance(outcome, LookupFailure):
            missing = self._accept(self._asked, outcome)
        elif outcome.splits and len(self._asked) > 1:
            missing = yield from self._bisect(outcome)
        else:
            if outcome.splits:
                self._findings.refused = next(iter(self._asked))
            self._answer_all(self._asked, outcome)
            return
        if missing:
            yield from self._ask_again(missing)

    def _accept(self, asked: Mapping[int, bool], answers: Mapping[int, Answer]) -> list[int]:
        """Take what a reply answers. Returns the ids that a reply to several leaves out."""
        known: int | None = None
        there = 0
        for id_, answer in answers.items():
            if known is None and isinstance(answer, MessageRecord):
                known = id_
            if id_ in asked:
                self._findings.answers.append((id_, answer))
                there += 1
        if known is not None:
            self._known = self._findings.known = known
        if there == len(asked):
            return []
        missing = [id_ for id_ in asked if id_ not in answers]
        if len(asked) > 1:
            return missing
        self._answer_all(missing, MessageNotFound("the reply leaves it out"))
        return []

    def _answer_all(self, ids: Iterable[int], answer: Answer) -> None:
        self._findings.answers += [(id_, answer) for id_ in ids]

    # --- bisection ---

    def _bisect(self, refusal: LookupFailure) -> Generator[Request, RequestResult, list[int]]:
        """Halve a refused batch until each poison id stands alone. Returns the ids that accepted parts leave out."""
        bisection = _Bisection(_halves(list(self._asked)))
        # Where everything is refused, no id is to blame, and looking for one would cost 2n requests.
        limit = math.floor(2 * math.log2(len(self._asked)) + 2)
        while bisection.parts and self._shut is None:
            if not bisection.accepted and bisection.requests >= limit:
                yield from self._try_two_ids(bisection)
                if not bisection.accepted:
                    self._findings.all_refused = self._shut is None
                    break
            else:
                largest = max(bisection.parts, key=len)
                bisection.parts.remove(largest)
                yield from self._ask_part(bisection, largest)
        if not self._findings.all_refused:
            self._findings.poison += bisection.poison
        for part in bisection.parts:
            self._answer_all(part, self._shut or refusal)
        return bisection.missing

    def _ask_part(self, bisection: "_Bisection", part: list[int]) -> Generator[Request, RequestResult, None]:
        asked = {id_: self._asked[id_] for id_ in part}
        bisection.requests += 1
        outcome = yield Request(asked, extra=True, splits=True)
        if not isinstance(outcome, LookupFailure):
            bisection.accepted = True
            bisection.missing += self._accept(asked, outcome)
        elif outcome.splits and len(part) > 1:
            bisection.parts += _halves(part)
        else:
            if outcome.splits:
                bisection.poison += part
            self._answer_all(part, outcome)
        if bisection.accepted:
            # At once: whoever has its refusal may ask again, and must not spoil another batch meanwhile.
            self._findings.poison += bisection.poison
            bisection.poison.clear()

    def _try_two_ids(self, bisection: "_Bisection") -> Generator[Request, RequestResult, None]:
        """Ask an id not asked yet alone, and where it is refused another one."""
        for id_ in self._pick_two(bisection.parts):
            if not bisection.accepted and self._shut is None:
                next(part for part in bisection.parts if id_ in part).remove(id_)
                yield from self._ask_part(bisection, [id_])
        bisection.parts = [part for part in bisection.parts if part]

    # --- canary ---

    def _ask_again(self, missing: list[int]) -> Generator[Request, RequestResult, None]:
        """Ask again for ids that a reply to several left out, with an id at the end that the platform knows."""
        canary = self._known if self._known is not None else self._find_canary(missing)
        if canary is None:
            canary = yield from self._ask_one_for_all(missing)
            if canary is None:
                return
            missing = [id_ for id_ in missing if id_ != canary]
        size = max(1, self._batch_size - 1)
        for start in range(0, len(missing), size):
            part = missing[start : start + size]
            outcome = yield Request({**{id_: self._asked[id_] for id_ in part}, canary: False}, extra=True)
            if isinstance(outcome, LookupFailure):
                self._answer_all(part, outcome)
                continue
            self._findings.answers += [(id_, outcome[id_]) for id_ in part if id_ in outcome]
            still_missing = [id_ for id_ in part if id_ not in outcome]
            if canary not in outcome:
                self._findings.arrays_are_cut = True
                self._findings.alone = still_missing + missing[start + size :]
                return
            self._answer_all(still_missing, MessageNotFound("two replies leave it out"))

    def _ask_one_for_all(self, missing: list[int]) -> Generator[Request, RequestResult, int | None]:
        """There is no canary: the last of the missing ids, which a cut array would lose first, is asked alone.

        Returns it as a canary where the platform knows it after all; otherwise every id has an answer.
        """
        last = missing[-1]
        asked = {last: self._asked[last]}
        outcome = yield Request(asked, extra=True)
        if isinstance(outcome, LookupFailure):
            self._answer_all(missing, outcome)
        elif last not in outcome:
            self._answer_all(missing, MessageNotFound("the reply leaves it out"))
        else:
            self._accept(asked, outcome)
            return last
        return None


@dataclass(slots=True)
class _Bisection:
    """A search for poison ids: ``parts`` not asked yet, and what those that were asked have brought."""

    parts: list[list[int]]
    requests: int = 1
    accepted: bool = False
    poison: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)


def _halves(ids: list[int]) -> list[list[int]]:
    middle = len(ids) // 2
    return [half for half in (ids[:middle], ids[middle:]) if half]
