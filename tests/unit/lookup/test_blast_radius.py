"""One bad id harms nobody else: batches that the platform refuses as a whole."""

import asyncio
import math
from collections.abc import Callable

import pytest

from app.lookup.failures import CredentialsRejected, LookupFailure, RequestRejected, Throttled, UnknownRefusal
from tests.support.lookup import (
    PlatformInMemory,
    ask,
    assert_nothing_left,
    engine_before,
    hang,
    kinds,
    warmed,
)
from tests.support.virtual_time import loop, on_virtual_time

SPREAD = [round(position * 99 / 10) for position in range(11)]


async def answers_by_kind(platform: PlatformInMemory, poison_ids: list[int]) -> None:
    """Ask for a hundred ids; the poison_ids are refused, everybody else is answered."""
    platform.poisons(*poison_ids)
    engine = engine_before(platform)
    found = await engine.lookup(range(100), False)
    refused = [id_ for id_, each in found.items() if isinstance(each.answer, LookupFailure)]
    assert refused == poison_ids
    assert kinds(found[id_].answer for id_ in poison_ids) == {"UnknownRefusal"}
    await assert_nothing_left(engine)


@pytest.mark.parametrize("position", [0, 1, 49, 50, 98, 99])
@on_virtual_time
async def test_one_poisoned_id_among_a_hundred_harms_nobody_else(position: int) -> None:
    platform = PlatformInMemory()
    await answers_by_kind(platform, [position])
    assert len(platform.requests) <= 1 + 2 * math.ceil(math.log2(100))


@on_virtual_time
async def test_six_poisoned_ids_at_the_front_harm_nobody_else() -> None:
    platform = PlatformInMemory()
    await answers_by_kind(platform, [0, 1, 2, 3, 4, 5])
    assert len(platform.requests) <= 1 + 2 * 6 + 2 * math.ceil(math.log2(100))


@on_virtual_time
async def test_eleven_poisoned_ids_spread_evenly_harm_nobody_else() -> None:
    platform = PlatformInMemory()
    await answers_by_kind(platform, SPREAD)
    assert len(platform.requests) <= 2 + 2 * 11 * math.ceil(math.log2(100))


@on_virtual_time
async def test_the_largest_part_is_asked_first() -> None:
    platform = PlatformInMemory()
    platform.poisons(3)
    await ask(engine_before(platform), range(7))
    assert [request.ids for request in platform.requests] == [
        [0, 1, 2, 3, 4, 5, 6],
        [3, 4, 5, 6],
        [0, 1, 2],
        [3, 4],
        [5, 6],
        [3],
        [4],
    ]


@pytest.mark.parametrize("refusal", [UnknownRefusal, RequestRejected])
@pytest.mark.parametrize("size", [4, 10, 100])
@on_virtual_time
async def test_where_everything_is_refused_the_search_ends_early(size: int, refusal: type[LookupFailure]) -> None:
    platform = PlatformInMemory(refuses=lambda ids: True, refusal=refusal)
    engine = await warmed(platform)
    failures_before = engine.policy.circuit_breaker._failures
    answers = await ask(engine, range(size))
    assert kinds(answers) == {refusal.__name__}
    assert len(platform.requests) <= 2 * math.log2(size) + 2 + 2
    assert engine.policy.circuit_breaker._failures == failures_before + 1
    assert not any(engine.batching.is_poison(id_) for id_ in range(size)), "no id is to blame"
    await assert_nothing_left(engine)


@pytest.mark.parametrize("size", [1, 2, 3])
@on_virtual_time
async def test_few_ids_that_are_each_refused_alone_are_poison_and_no_sign_of_a_failing_platform(size: int) -> None:
    platform = PlatformInMemory(refuses=lambda ids: True)
    engine = await warmed(platform)
    assert kinds(await ask(engine, range(size))) == {"UnknownRefusal"}
    assert len(platform.requests) == 2 * size - 1 <= 2 * math.log2(size) + 2
    assert engine.policy.circuit_breaker._failures == 0
    platform.requests.clear()
    await ask(engine, range(size))
    assert [request.ids for request in platform.requests] == [[id_] for id_ in range(size)]


@on_virtual_time
async def test_before_everybody_is_refused_two_ids_not_asked_yet_are_asked_alone() -> None:
    platform = PlatformInMemory(refuses=lambda ids: True)
    await ask(engine_before(platform), range(100))
    *search, one, other = [request.ids for request in platform.requests]
    assert len(search) == math.floor(2 * math.log2(100) + 2)
    assert len(one) == len(other) == 1
    assert one != other


@on_virtual_time
async def test_the_search_goes_on_when_one_of_the_two_is_accepted() -> None:
    platform = PlatformInMemory(latency=0.001)
    innocent: set[int] = set()

    def refuses(ids: object) -> bool:
        # Nobody is fine but the first one who is asked alone after the search's limit.
        asked = platform.requests[-1].ids
        if len(platform.requests) == 16:
            innocent.update(asked)
        return not innocent.issuperset(asked)

    platform.refuses = refuses
    engine = engine_before(platform)
    found = await engine.lookup(range(100), False)
    assert {id_ for id_, each in found.items() if kinds([each.answer]) == {"deliver"}} == innocent
    assert {ids[0] for ids in (request.ids for request in platform.requests) if len(ids) == 1} == set(range(100))
    assert engine.policy.circuit_breaker._failures == 0


@on_virtual_time
async def test_a_platform_that_refuses_everything_under_load_opens_the_circuit() -> None:
    platform = PlatformInMemory(refuses=lambda ids: True)
    engine = await warmed(platform)
    for start in range(0, 1000, 100):
        await ask(engine, range(start, start + 100))
    assert engine.policy.circuit_breaker.state == "open"


@on_virtual_time
async def test_a_poison_id_polled_every_second_costs_one_request_a_poll_and_is_asked_alone() -> None:
    platform = PlatformInMemory(state="send")
    platform.poisons(50)
    engine = engine_before(platform)
    assert kinds(await ask(engine, range(100))) == {"send", "UnknownRefusal"}
    for _ in range(90):
        await asyncio.sleep(1)
        platform.requests.clear()
        innocents, poison = await asyncio.gather(ask(engine, range(100, 110), fresh=True), ask(engine, 50))
        assert kinds(innocents) == {"send"}
        assert kinds(poison) == {"UnknownRefusal"}
        assert sorted(map(len, (request.ids for request in platform.requests))) == [1, 10]


@on_virtual_time
async def test_a_poison_id_is_asked_alone_for_sixty_seconds_and_then_travels_with_the_others() -> None:
    platform = PlatformInMemory(state="send")
    platform.poisons(3)
    engine = engine_before(platform)
    await ask(engine, range(10))
    platform.refuses = lambda ids: False
    for seconds, together in ((59, False), (2, True)):
        await asyncio.sleep(seconds)
        platform.requests.clear()
        await ask(engine, range(10), fresh=True)
        assert (len(platform.requests) == 1) is together


@on_virtual_time
async def test_an_error_text_in_one_entry_is_that_ids_alone() -> None:
    platform = PlatformInMemory(odd_entries={5: UnknownRefusal})
    engine = engine_before(platform)
    answers = await ask(engine, range(10))
    assert len(platform.requests) == 1
    assert kinds(answers[:5] + answers[6:]) == {"deliver"}
    assert kinds(answers[5:6]) == {"UnknownRefusal"}


@on_virtual_time
async def test_splitting_needs_no_retry_and_ends_at_the_deadline() -> None:
    platform = PlatformInMemory()
    platform.poisons(0)
    engine = await warmed(platform)
    latencies = iter([0.03, *[3600.0] * 50])
    platform.latency = lambda: next(latencies)
    started = loop().time()
    answers = await ask(engine, range(100))
    assert kinds(answers) <= {"TimedOut", "DeadlinePassed"}
    assert loop().time() - started <= 5.01
    asked = [id_ for request in platform.requests[1:] for id_ in request.ids]
    assert len(asked) == len(set(asked)), "a part that got no reply is not asked again"
    platform.latency = hang
    await assert_nothing_left(engine)


@on_virtual_time
async def test_splitting_neither_fills_nor_empties_the_retry_budget() -> None:
    platform = PlatformInMemory()
    platform.poisons(0)
    engine = await warmed(platform)
    for _ in range(5):
        engine.policy.retry_budget.take()
    before = engine.policy.retry_budget._tokens
    await ask(engine, range(100))
    assert len(platform.requests) > 10
    assert engine.policy.retry_budget._tokens == pytest.approx(before + 0.1)


@on_virtual_time
async def test_splitting_has_one_request_in_flight() -> None:
    platform = PlatformInMemory()
    platform.poisons(7)
    engine = await warmed(platform)
    await ask(engine, range(100))
    assert platform.most_in_flight == 1


@pytest.mark.parametrize(
    ("shut", "answer"),
    [(lambda: Throttled("slow down", retry_after=3), "Throttled"), (CredentialsRejected, "CredentialsRejected")],
)
@pytest.mark.parametrize("at", [3, 15, 16])
@on_virtual_time
async def test_whoever_was_not_asked_when_the_way_was_shut_gets_the_reason_and_not_the_refusal(
    at: int, shut: Callable[[], LookupFailure], answer: str
) -> None:
    platform = PlatformInMemory(script=[*[None] * (at - 1), shut])
    platform.poisons(*range(0, 100, 9))
    engine = engine_before(platform)
    answers = await ask(engine, range(100))
    assert kinds(answers) == {answer}
    assert len(platform.requests) == at
    assert engine.policy.circuit_breaker._failures == 0
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_search_that_the_deadline_ends_is_no_failure_of_the_platform() -> None:
    platform = PlatformInMemory(latency=0.6)
    platform.poisons(*range(0, 100, 9))
    engine = engine_before(platform)
    assert kinds(await ask(engine, range(100))) == {"DeadlinePassed"}
    await assert_nothing_left(engine)
    assert engine.policy.circuit_breaker._failures == 0
