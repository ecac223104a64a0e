"""A platform in memory, and an engine before it, for tests of the lookup engine on virtual time."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from app.lookup.cache.memory import MemoryCache
from app.lookup.caller import INTERNAL, Caller
from app.lookup.engine import Engine, LookupResult
from app.lookup.failures import LookupFailure, UnknownRefusal
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import Answer, MessageRecord
from app.lookup.resolution import RequestResult
from tests.support.virtual_time import loop

WHEN = datetime(2021, 4, 26, 15, 15, 3, tzinfo=timezone(timedelta(hours=3)))
LIFETIMES = Lifetimes(pending=2, delivered=60, final=86400, not_found=2)
LATENCY = 0.03

Failing = Callable[[], LookupFailure]


@dataclass(frozen=True)
class Sent:
    """One request as the platform saw it."""

    at: float
    entries: dict[int, bool]

    @property
    def ids(self) -> list[int]:
        return list(self.entries)


@dataclass(frozen=True)
class ReplyInMemory:
    """A reply that has not been read yet."""

    outcome: RequestResult

    @property
    def may_be_error(self) -> bool:
        return isinstance(self.outcome, LookupFailure)


@dataclass
class PlatformInMemory:
    """Knows every id but the ``unknown`` ones, all as ``state`` unless ``states`` says otherwise.

    ``latency``: seconds to each reply. ``failing`` makes the failure of every request while
    it is set, ``script`` those of the next ones (None: answer). ``refuses`` says of an array whether it is
    refused as a whole. ``answers_first``: only so many entries of an array are looked at. ``odd_entries``: answers for
    single entries. ``failures_are_read``: failures are found when a reply is read, and not before.
    """

    state: str = "deliver"
    states: dict[int, str] = field(default_factory=dict)
    unknown: Collection[int] = frozenset()
    latency: float | Callable[[], float] = LATENCY
    failing: Failing | None = None
    script: list[Failing | None] = field(default_factory=list)
    refuses: Callable[[Collection[int]], bool] = lambda ids: False
    refusal: Failing = lambda: UnknownRefusal("refused", upstream_message="No.")
    answers_first: int | None = None
    odd_entries: dict[int, Failing] = field(default_factory=dict)
    failures_are_read: bool = False
    requests: list[Sent] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, asked: Mapping[int, bool]) -> "ReplyInMemory | LookupFailure":
        self.requests.append(Sent(loop().time(), dict(asked)))
        failing = self.script.pop(0) if self.script else self.failing
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency() if callable(self.latency) else self.latency)
        finally:
            self.in_flight -= 1
        if failing is not None:
            failure = failing().as_value()
            return ReplyInMemory(failure) if self.failures_are_read else failure
        if self.refuses(asked.keys()):
            return ReplyInMemory(self.refusal())
        seen = list(asked.items())[: self.answers_first]
        return ReplyInMemory({id_: self.answer(id_, detail) for id_, detail in seen if id_ not in self.unknown})

    async def read(self, asked: Mapping[int, bool], reply: "ReplyInMemory") -> RequestResult:
        return reply.outcome

    def answer(self, id_: int, detail: bool) -> Answer:
        """What it says of an id that it knows."""
        if id_ in self.odd_entries:
            return self.odd_entries[id_]()
        state = self.states.get(id_, self.state)
        changed_at = None if state == "send" else WHEN
        if detail:
            return MessageRecord(id_, state, changed_at, 1, "10.6000000", detailed=True)
        return MessageRecord(id_, state, changed_at)

    def poisons(self, *ids: int) -> None:
        """Refuse every array that holds one of these ids."""
        poison = set(ids)
        self.refuses = lambda asked: not poison.isdisjoint(asked)

    def count_of(self, id_: int) -> int:
        """In how many requests an id was asked for."""
        return sum(id_ in request.entries for request in self.requests)

    @property
    def entries_sent(self) -> int:
        return sum(len(request.entries) for request in self.requests)


def hang() -> float:
    """A latency beyond every limit."""
    return 3600.0


def engine_before(platform: PlatformInMemory, **options: Any) -> Engine:
    """An engine with the defaults of the settings, on the running loop's time."""
    lifetimes = options.pop("lifetimes", LIFETIMES)
    cache = options.pop("cache", None) or MemoryCache(
        loop().time, lifetimes, max_entries=options.pop("max_entries", 100_000)
    )
    defaults = {"batch_size": 100, "max_in_flight": 4, "attempt_timeout": 2.0, "deadline": 5.0, "max_queued": 10_000}
    return Engine(platform, cache, loop().time, lifetimes, **{**defaults, **options})


async def warmed(platform: PlatformInMemory, **options: Any) -> Engine:
    """An engine that the platform has answered once (id 999 999, not recorded), so that it uses all its places."""
    engine = engine_before(platform, **options)
    quirks = platform.refuses, platform.failing, platform.latency, platform.script
    platform.refuses, platform.failing, platform.latency, platform.script = lambda ids: False, None, 0.0, []
    await engine.lookup([999_999], detail=True)
    platform.refuses, platform.failing, platform.latency, platform.script = quirks
    platform.requests.clear()
    platform.most_in_flight = 0
    return engine


async def ask(
    engine: Engine, ids: Iterable[int] | int, *, detail: bool = False, fresh: bool = False, caller: Caller = INTERNAL
) -> list[Answer]:
    """The answers, in the order asked."""
    wanted = [ids] if isinstance(ids, int) else ids
    return [found.answer for found in (await engine.lookup(wanted, detail, fresh=fresh, caller=caller)).values()]


async def at_once(engine: Engine, ids: Iterable[int], *, detail: bool = False) -> list[LookupResult]:
    """One caller for each id, all starting in the same iteration of the event loop."""
    found = await asyncio.gather(*(engine.lookup([id_], detail) for id_ in ids))
    return [each for answers in found for each in answers.values()]


def kinds(answers: Iterable[Answer]) -> set[str]:
    """The states and failures among the answers, by name."""
    return {each.state if isinstance(each, MessageRecord) else type(each).__name__ for each in answers}


async def assert_nothing_left(engine: Engine) -> None:
    """Once all deadlines and time limits are over nothing is queued or on its way, and no timer runs."""
    await asyncio.sleep(30)
    assert len(engine.queue) == 0
    assert engine.queue.in_flight == 0
    assert engine.dispatcher.in_flight == 0
    assert not engine.queue._waiters
    assert not engine.dispatcher._readers
    assert not engine.dispatcher._follow_ups
    assert loop().pending_timers() == []


class Now:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds
