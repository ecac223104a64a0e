"""How much time an attempt has, and what an attempt that ran out of it says about the platform."""

import asyncio

import pytest

from app.lookup.failures import ServerError
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, at_once, hang, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time

ATTEMPT = 2.0


@on_virtual_time
async def test_a_request_for_several_callers_has_the_time_of_the_one_who_has_most_left() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, attempt_timeout=4.9)
    latencies = iter([4.5, 1.0])
    platform.latency = lambda: next(latencies)
    started = loop().time()
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    hurried = asyncio.create_task(ask(engine, 2))
    await asyncio.sleep(4.4)
    # Both leave at 4.5 s: then the one before has 0.5 s left, and this one nearly 5 s.
    patient = asyncio.create_task(ask(engine, 3))
    assert kinds(await first) == {"deliver"}
    assert kinds(await hurried) == {"DeadlinePassed"}
    assert loop().time() - started == pytest.approx(5.0)
    assert kinds(await patient) == {"deliver"}
    assert loop().time() - started == pytest.approx(5.5)
    assert [request.ids for request in platform.requests] == [[1], [2, 3]]
    await assert_nothing_left(engine)


@pytest.mark.parametrize(("part", "counts"), [(0.75, True), (0.25, False)])
def test_an_attempt_that_its_callers_cut_short_counts_for_the_circuit_breaker_only_where_it_had_half_its_time(
    part: float, counts: bool
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = PlatformInMemory()
        engine = await warmed(
            platform, max_in_flight=20, batch_size=1, attempt_timeout=ATTEMPT, deadline=part * ATTEMPT
        )
        platform.latency = hang
        await at_once(engine, range(20))
        assert len(platform.requests) == 20
        platform.latency = 0.01
        assert kinds(await ask(engine, 100)) == ({"CircuitOpen"} if counts else {"deliver"})
        await assert_nothing_left(engine)

    scenario()


@on_virtual_time
async def test_a_probe_that_its_caller_cut_short_says_nothing_so_the_next_request_is_a_probe_again() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = await warmed(platform, max_in_flight=20, batch_size=1, attempt_timeout=ATTEMPT, deadline=0.4 * ATTEMPT)
    await at_once(engine, range(20))
    assert kinds(await ask(engine, 100)) == {"CircuitOpen"}
    await asyncio.sleep(5)
    platform.failing, platform.latency = None, hang
    assert kinds(await ask(engine, 100)) == {"DeadlinePassed"}
    platform.latency = 0.01
    found = await at_once(engine, [101, 102, 103])
    assert [kinds([each.answer]) for each in found] == [{"deliver"}, {"CircuitOpen"}, {"CircuitOpen"}]
    assert kinds(await ask(engine, 104)) == {"deliver"}
    await assert_nothing_left(engine)
