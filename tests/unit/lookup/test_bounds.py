"""The numbers that the platform's operator may rely on."""

import asyncio
from collections.abc import Callable

import pytest

from app.lookup.failures import (
    CircuitOpen,
    CredentialsRejected,
    LookupFailure,
    ServerError,
    Throttled,
    TimedOut,
    Unreachable,
)
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, at_once, engine_before, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_a_thousand_callers_of_one_cold_id_cost_one_entry() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    found = await at_once(engine, [82216] * 1000)
    assert kinds(each.answer for each in found) == {"deliver"}
    assert platform.entries_sent == 1
    await assert_nothing_left(engine)


@pytest.mark.parametrize("start", [engine_before, warmed])
@on_virtual_time
async def test_a_thousand_ids_started_at_once_cost_at_most_fourteen_requests(start: Callable[..., object]) -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform) if start is engine_before else await warmed(platform)
    found = await at_once(engine, range(1000))
    assert [each.answer.id for each in found if not isinstance(each.answer, LookupFailure)] == list(range(1000))
    assert len(platform.requests) <= 14
    assert platform.entries_sent == 1000
    assert platform.most_in_flight <= 4


@on_virtual_time
async def test_a_thousand_ids_that_arrive_within_a_few_milliseconds_cost_few_requests() -> None:
    platform = PlatformInMemory(latency=0.1)
    engine = await warmed(platform)

    async def one(id_: int) -> None:
        await asyncio.sleep(id_ % 10 / 1000)
        await ask(engine, id_)

    await asyncio.gather(*(one(id_) for id_ in range(1000)))
    assert len(platform.requests) <= 14


@on_virtual_time
async def test_a_batch_call_of_a_thousand_ids_costs_at_most_eleven_requests() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    assert kinds(await ask(engine, range(1000))) == {"deliver"}
    assert len(platform.requests) <= 11


@on_virtual_time
async def test_a_final_state_is_never_asked_for_twice() -> None:
    platform = PlatformInMemory(state="read")
    engine = engine_before(platform)
    assert await ask(engine, 1) == await ask(engine, 1)
    await asyncio.sleep(86_000)
    await ask(engine, 1, fresh=True)
    assert len(platform.requests) == 1


@pytest.mark.parametrize("apart", [0.0, 0.001, 0.01, 0.1])
@on_virtual_time
async def test_twenty_lookups_with_a_wrong_password_cost_at_most_two_requests(apart: float) -> None:
    platform = PlatformInMemory(failing=CredentialsRejected)
    engine = engine_before(platform)

    async def one(id_: int) -> LookupFailure:
        await asyncio.sleep(id_ * apart)
        (answer,) = await ask(engine, id_)
        assert isinstance(answer, CredentialsRejected)
        return answer

    answers = await asyncio.gather(*(one(id_) for id_ in range(20)))
    assert len(platform.requests) <= 2
    assert all(59 - 20 * apart < (answer.retry_after or 0) <= 60 for answer in answers)


@pytest.mark.parametrize("failure", [ServerError, Unreachable, TimedOut])
@on_virtual_time
async def test_a_platform_that_fails_everything_for_three_seconds_is_left_alone(failure: type[LookupFailure]) -> None:
    platform = PlatformInMemory(failing=failure)
    engine = await warmed(platform)
    broken_at = loop().time()
    longest = {"CircuitOpen": 0.0}
    answered_again: list[float] = []

    async def one(id_: int) -> None:
        started = loop().time()
        (answer,) = await ask(engine, id_)
        if isinstance(answer, CircuitOpen):
            assert answer.retry_after
            if started > opened[0]:
                longest["CircuitOpen"] = max(longest["CircuitOpen"], loop().time() - started)
        if kinds([answer]) == {"deliver"}:
            answered_again.append(loop().time())

    opened = [float("inf")]
    callers = []
    for id_ in range(9 * 200):
        now = loop().time()
        if engine.policy.circuit_breaker.state == "open":
            opened[0] = min(opened[0], now)
        if now - broken_at >= 3:
            platform.failing = None
        callers.append(asyncio.create_task(one(id_)))
        await asyncio.sleep(1 / 200)
        if now - broken_at < 3:
            while_broken = len(platform.requests)
    await asyncio.gather(*callers)
    assert 5 <= while_broken <= 40
    assert opened[0] - broken_at < 1
    assert longest["CircuitOpen"] <= 0.05
    assert answered_again[0] - (broken_at + 3) <= 6
    await assert_nothing_left(engine)


@on_virtual_time
async def test_those_already_queued_are_refused_as_soon_as_the_circuit_opens() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = await warmed(platform, batch_size=1)
    found = await at_once(engine, range(1000))
    assert kinds(each.answer for each in found) == {"ServerError", "CircuitOpen"}
    assert len(platform.requests) <= 14
    assert loop().time() < 1002
    await assert_nothing_left(engine)


@on_virtual_time
async def test_those_already_queued_are_refused_at_once_while_more_requests_are_out_than_may_leave() -> None:
    platform = PlatformInMemory(script=[lambda: Throttled("slow down", retry_after=5)])
    engine = await warmed(platform, batch_size=1)
    latencies = iter([0.1, 1.9, 1.9, 1.9])
    platform.latency = lambda: next(latencies)
    in_flight = [asyncio.create_task(ask(engine, id_)) for id_ in range(4)]
    queued = asyncio.create_task(ask(engine, 4))
    await asyncio.sleep(0.05)
    engine.credentials_changed()
    started = loop().time()
    assert kinds(await queued) == {"Throttled"}
    assert loop().time() - started <= 0.06
    await asyncio.gather(*in_flight)


@on_virtual_time
async def test_cached_answers_go_on_while_the_platform_is_shut() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform)
    await ask(engine, 1)
    platform.failing = CredentialsRejected
    assert kinds(await ask(engine, [1, 2])) == {"deliver", "CredentialsRejected"}
    assert kinds(await ask(engine, [1, 3])) == {"deliver", "CredentialsRejected"}
    assert len(platform.requests) == 2
