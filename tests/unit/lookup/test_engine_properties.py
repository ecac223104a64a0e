"""Random traffic before random platforms: what holds whatever happens.

Each example is a handful of callers on virtual time, some of whom leave, before a platform that is slow, fails,
refuses or answers in part. The engine has few places, small batches and a small queue, so that everything collides.
"""

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import event, given
from hypothesis import strategies as st

from app.lookup.caller import Caller
from app.lookup.engine import Engine, LookupResult
from app.lookup.failures import (
    AccountLocked,
    CredentialsRejected,
    InvalidReply,
    LookupFailure,
    MessageNotFound,
    RequestRejected,
    ServerError,
    Throttled,
    UnknownRefusal,
    Unreachable,
)
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import STATES, MessageRecord
from tests.support.lookup import PlatformInMemory, assert_nothing_left, engine_before, kinds
from tests.support.virtual_time import loop, on_virtual_time

CALLERS = [Caller(name, name) for name in ("first", "second", "third")]
DEADLINE = 5.0
IDS = st.integers(1, 12)
TIMES = st.floats(0, 8).map(lambda seconds: round(seconds, 2))


@dataclass(frozen=True)
class Call:
    """One question: when it comes and whose it is, what it wants, and when it leaves without waiting for the answer."""

    caller: Caller
    at: float
    ids: list[int]
    detail: bool
    fresh: bool
    leaves_after: float | None


CALLS = st.lists(
    st.builds(
        Call,
        caller=st.sampled_from(CALLERS),
        # Whole steps bring callers together in one iteration of the event loop.
        at=st.one_of(st.sampled_from([0.0, 0.02, 1.0]), TIMES),
        ids=st.lists(IDS, min_size=1, max_size=8),
        detail=st.booleans(),
        fresh=st.booleans(),
        leaves_after=st.one_of(st.none(), st.none(), st.floats(0, 3)),
    ),
    min_size=1,
    max_size=12,
)
FAILURES = st.sampled_from(
    [None, None, None, ServerError, Unreachable, InvalidReply, Throttled, CredentialsRejected, AccountLocked]
)
LATENCIES = st.lists(st.sampled_from([0.0, 0.01, 0.03, 0.4, 1.9, 2.5, 3600.0]), min_size=1, max_size=20)
HONEST_LATENCIES = st.lists(st.sampled_from([0.0, 0.01, 0.03, 0.1]), min_size=1, max_size=20)
STATES_OF_IDS = st.dictionaries(IDS, st.sampled_from([*STATES, "queued"]))
ENTRIES = st.dictionaries(IDS, st.sampled_from([MessageNotFound, InvalidReply, UnknownRefusal]), max_size=2)
PLACES = st.integers(1, 3)
BATCH_SIZES = st.integers(1, 6)


@dataclass
class Answered:
    """What one caller got, and how long it took."""

    call: Call
    found: dict[int, LookupResult]
    seconds: float


async def play(engine: Engine, calls: list[Call]) -> list[Answered]:
    """Let the callers come and go; returns what those got who stayed."""
    answered: list[Answered] = []

    async def one(call: Call) -> None:
        await asyncio.sleep(call.at)
        started = loop().time()
        answers = Counter[int]()

        def count(id_: int, _result: LookupResult) -> None:
            answers[id_] += 1

        try:
            async with asyncio.timeout(call.leaves_after):
                found = await engine.lookup(
                    call.ids, call.detail, fresh=call.fresh, caller=call.caller, on_result=count
                )
        except TimeoutError:
            assert call.leaves_after is not None
            return
        assert answers == dict.fromkeys(call.ids, 1)
        answered.append(Answered(call, found, loop().time() - started))

    await asyncio.gather(*(one(call) for call in calls))
    return answered


def next_of(latencies: list[float], platform: PlatformInMemory) -> None:
    platform.latency = lambda: latencies[len(platform.requests) % len(latencies)]


def assert_answered(answered: list[Answered], platform: PlatformInMemory, longest: float = DEADLINE) -> None:
    """Everybody has one answer for each id, about that id, with the detail asked for, in time."""
    for each in answered:
        assert list(each.found) == list(dict.fromkeys(each.call.ids))
        assert each.seconds <= longest + 0.002
        for id_, found in each.found.items():
            answer = found.answer
            if isinstance(answer, MessageRecord):
                expected = platform.answer(id_, answer.detailed)
                assert answer == expected
                assert answer.detailed >= each.call.detail
            elif isinstance(answer, MessageNotFound):
                assert id_ in platform.unknown or platform.odd_entries.get(id_) is MessageNotFound
            else:
                assert type(answer) is not LookupFailure, "a batch ended in a defect"


def assert_polite(platform: PlatformInMemory, places: int, batch_size: int) -> None:
    assert platform.most_in_flight <= places
    assert all(1 <= len(request.entries) <= batch_size for request in platform.requests)


@given(
    calls=CALLS,
    latencies=LATENCIES,
    script=st.lists(FAILURES, max_size=12),
    states=STATES_OF_IDS,
    odd_entries=ENTRIES,
    unknown=st.sets(IDS, max_size=4),
    poisoned=st.sets(IDS, max_size=3),
    refusal=st.sampled_from([UnknownRefusal, RequestRejected]),
    places=PLACES,
    batch_size=BATCH_SIZES,
    max_queued=st.sampled_from([3, 1000]),
    failures_are_read=st.booleans(),
)
@on_virtual_time
async def test_whatever_happens_everybody_is_answered_once_and_nothing_is_left_behind(
    calls: list[Call],
    latencies: list[float],
    script: list[type[LookupFailure] | None],
    states: dict[int, str],
    odd_entries: dict[int, type[LookupFailure]],
    unknown: set[int],
    poisoned: set[int],
    refusal: type[LookupFailure],
    places: int,
    batch_size: int,
    max_queued: int,
    failures_are_read: bool,
) -> None:
    platform = PlatformInMemory(
        states=states,
        script=[*script],
        odd_entries=dict(odd_entries),
        unknown=unknown,
        refusal=refusal,
        failures_are_read=failures_are_read,
    )
    platform.poisons(*poisoned)
    next_of(latencies, platform)
    engine = engine_before(platform, max_in_flight=places, batch_size=batch_size, max_queued=max_queued)
    answered = await play(engine, calls)
    for kind in {kind for each in answered for kind in kinds(found.answer for found in each.found.values())}:
        event(kind)
    assert_answered(answered, platform)
    assert_polite(platform, places, batch_size)
    await assert_nothing_left(engine)
    assert platform.in_flight == 0


@given(
    calls=CALLS,
    latencies=HONEST_LATENCIES,
    whole=st.integers(1, 4),
    unknown=st.sets(IDS, max_size=4),
    places=PLACES,
    batch_size=BATCH_SIZES,
)
@on_virtual_time
async def test_a_platform_that_answers_arrays_in_part_makes_nobody_unknown(
    calls: list[Call], latencies: list[float], whole: int, unknown: set[int], places: int, batch_size: int
) -> None:
    platform = PlatformInMemory(answers_first=whole, unknown=unknown)
    engine = engine_before(platform, max_in_flight=places, batch_size=batch_size)
    # A known id for a control: without one, one of the missing stands for the rest, as the contract says.
    await engine.lookup([999_999], False)
    next_of(latencies, platform)
    answered = await play(engine, calls)
    assert_answered(answered, platform)
    assert_polite(platform, places, batch_size)
    for each in answered:
        for id_, found in each.found.items():
            assert isinstance(found.answer, MessageNotFound) is (id_ in unknown)
    await assert_nothing_left(engine)


@given(
    calls=CALLS, latencies=HONEST_LATENCIES, states=STATES_OF_IDS, poisoned=IDS, places=PLACES, batch_size=BATCH_SIZES
)
@on_virtual_time
async def test_a_poisoned_id_harms_nobody_else(
    calls: list[Call], latencies: list[float], states: dict[int, str], poisoned: int, places: int, batch_size: int
) -> None:
    platform = PlatformInMemory(states=states)
    platform.poisons(poisoned)
    next_of(latencies, platform)
    engine = engine_before(platform, max_in_flight=places, batch_size=batch_size)
    answered = await play(engine, calls)
    await assert_nothing_left(engine)
    assert_answered(answered, platform)
    for each in answered:
        for id_, found in each.found.items():
            assert isinstance(found.answer, UnknownRefusal) is (id_ == poisoned)
    # Each halving of a batch asks for it once, until it stands alone; from then on it is asked alone.
    spoiled = sum(poisoned in request.entries and len(request.entries) > 1 for request in platform.requests)
    # Twice as many batches as there are places may have taken it along before: a worker goes on while a reply is read.
    assert spoiled <= 2 * places * math.ceil(math.log2(max(2, batch_size)))


@given(calls=CALLS, latencies=HONEST_LATENCIES, states=STATES_OF_IDS, places=PLACES, batch_size=BATCH_SIZES)
@on_virtual_time
async def test_without_faults_an_id_is_sent_once_for_each_life_of_its_answer_and_once_for_its_detail(
    calls: list[Call], latencies: list[float], states: dict[int, str], places: int, batch_size: int
) -> None:
    # No caller asks for what is cached anew, and nothing expires while the example runs.
    calls = [replace(call, fresh=False) for call in calls]
    platform = PlatformInMemory(states=states)
    next_of(latencies, platform)
    forever = Lifetimes(pending=3600, delivered=3600, final=3600, not_found=3600)
    engine = engine_before(platform, max_in_flight=places, batch_size=batch_size, lifetimes=forever)
    answered = await play(engine, calls)
    await assert_nothing_left(engine)
    assert_answered(answered, platform)
    sent = [(id_, detail) for request in platform.requests for id_, detail in request.entries.items()]
    assert len(sent) == len(set(sent)), "the same question was sent twice"
    asked = {id_ for call in calls for id_ in call.ids}
    wanted_detail = {id_ for call in calls if call.detail for id_ in call.ids}
    assert {id_ for id_, _ in sent} <= asked
    assert {id_ for id_, detail in sent if detail} <= wanted_detail
    assert all(kinds(found.answer for found in each.found.values()) <= {*STATES, "queued"} for each in answered)


@given(calls=CALLS, latencies=HONEST_LATENCIES, places=PLACES, batch_size=BATCH_SIZES)
@on_virtual_time
async def test_without_faults_an_id_is_never_in_two_requests_at_once_but_for_its_detail(
    calls: list[Call], latencies: list[float], places: int, batch_size: int
) -> None:
    platform = PlatformInMemory(state="send")
    next_of(latencies, platform)
    engine = engine_before(platform, max_in_flight=places, batch_size=batch_size)
    flying: list[tuple[int, bool]] = []
    twice: list[tuple[int, bool]] = []
    original = platform.send

    async def watched(asked: dict[int, bool]) -> object:
        # Who wants no detail joins a batch in flight that has it. An assertion here would be one more failed request.
        twice.extend(each for each in asked.items() if each in flying or (each[0], True) in flying)
        flying.extend(asked.items())
        try:
            return await original(asked)
        finally:
            for question in asked.items():
                flying.remove(question)

    platform.send = watched  # type: ignore[method-assign,assignment]  # the test listens at the platform's door
    answered = await play(engine, calls)
    await assert_nothing_left(engine)
    assert_answered(answered, platform)
    assert twice == []
    # Fresh questions may be sent again, but never more entries than ids in calls.
    assert platform.entries_sent <= sum(len(set(call.ids)) for call in calls)
    assert_polite(platform, places, batch_size)
