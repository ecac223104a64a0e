"""How a wait ends when no answer comes: deadlines, closing, unhandled errors."""

import asyncio

import pytest

from app.lookup.failures import Overloaded
from tests.support.lookup import (
    LATENCY,
    PlatformInMemory,
    ask,
    assert_nothing_left,
    engine_before,
    hang,
    kinds,
    warmed,
)
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_each_caller_is_answered_at_its_own_deadline() -> None:
    platform = PlatformInMemory(latency=hang)
    engine = engine_before(platform)
    started = loop().time()
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(3)
    second = asyncio.create_task(ask(engine, 1))
    assert kinds(await first) <= {"DeadlinePassed", "TimedOut"}
    assert loop().time() - started <= 5.01
    await second
    assert loop().time() - started <= 8.01
    await assert_nothing_left(engine)


@on_virtual_time
async def test_at_the_deadline_the_answers_that_there_are_are_kept() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=1, attempt_timeout=5.0)
    latencies = iter([0.1, 0.1, 3600.0])
    platform.latency = lambda: next(latencies)
    answers = await ask(engine, [1, 2, 3, 4])
    assert kinds(answers[:2]) == {"deliver"}
    assert kinds(answers[2:]) <= {"DeadlinePassed", "TimedOut"}
    assert len(platform.requests) == 3
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_entry_lives_while_any_of_its_waiters_has_time() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, attempt_timeout=4.9)
    latencies = iter([4.8, 0.5])
    platform.latency = lambda: next(latencies)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.1)
    early = asyncio.create_task(ask(engine, 2))
    await asyncio.sleep(4.6)
    late = asyncio.create_task(ask(engine, 2))
    assert kinds(await late) == kinds(await first) == {"deliver"}
    assert kinds(await early) == {"DeadlinePassed"}
    assert platform.count_of(2) == 1


@on_virtual_time
async def test_closing_answers_everybody_now_and_leaves_nothing_behind() -> None:
    platform = PlatformInMemory(latency=hang)
    engine = await warmed(platform, max_in_flight=2, batch_size=1)
    callers = [asyncio.create_task(ask(engine, id_)) for id_ in range(5)]
    await asyncio.sleep(0.1)
    before = loop().time()
    await engine.aclose()
    for caller in callers:
        (answer,) = await caller
        assert isinstance(answer, Overloaded)
        assert answer.retry_after
    assert loop().time() == before
    assert platform.in_flight == 0
    assert engine.dispatcher.in_flight == len(engine.queue) == 0
    await assert_nothing_left(engine)


@on_virtual_time
async def test_closing_before_a_worker_took_its_first_step_leaves_nothing_behind() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform)
    caller = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0)
    await engine.aclose()
    assert kinds(await caller) == {"Overloaded"}
    assert platform.requests == []
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_unhandled_error_in_a_request_is_everybodys_internal_error_and_blocks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform)

    def broken() -> float:
        raise ZeroDivisionError

    platform.latency = broken
    (answer,) = await ask(engine, 1)
    assert getattr(answer, "slug", None) == "internal-error"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    platform.latency = LATENCY
    assert kinds(await ask(engine, 1)) == {"deliver"}
    await assert_nothing_left(engine)
