"""Poison stays at home: callers whose ids spoil batches are kept apart from the others for a while."""

import asyncio
import itertools
import logging
from collections.abc import Collection

import pytest

from app.lookup.caller import POLLS, Caller
from app.lookup.engine import Engine
from app.lookup.record import Answer
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time

LOUD, OTHER, QUIET = Caller("loud", "loud"), Caller("other", "other"), Caller("quiet", "quiet")
POISON = 1_000_000
"""Ids from here on are poison."""


def refuses_poison(ids: Collection[int]) -> bool:
    return any(id_ >= POISON for id_ in ids)


async def before_poison(**options: int) -> tuple[PlatformInMemory, Engine]:
    platform = PlatformInMemory(refuses=refuses_poison, state="send")
    return platform, await warmed(platform, **options)


def start(engine: Engine, ids: Collection[int], caller: Caller) -> asyncio.Task[list[Answer]]:
    """Ask in a task of its own."""
    return asyncio.create_task(ask(engine, ids, caller=caller))


fresh_poison = itertools.count(POISON)


async def spoil(engine: Engine, times: int = 1, caller: Caller = LOUD) -> None:
    """Spoil batches, one after the other, with ids that were never asked for."""
    for _ in range(times):
        await ask(engine, [next(fresh_poison), next(fresh_poison)], caller=caller)


def is_isolated(engine: Engine, caller: Caller = LOUD) -> bool:
    told = engine.queue.isolation.isolated()[caller.label] == 1
    engine.queue.next_batch(1, ())
    assert told is (caller.identity in engine.queue.isolation.callers)
    return told


@on_virtual_time
async def test_three_spoiled_batches_within_a_minute_isolate_a_caller_until_a_minute_has_gone_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    _, engine = await before_poison()
    await spoil(engine)
    await asyncio.sleep(61)
    await spoil(engine, 2)
    assert not is_isolated(engine)
    await spoil(engine)
    assert is_isolated(engine)
    await asyncio.sleep(50)
    await spoil(engine)
    await asyncio.sleep(59)
    assert is_isolated(engine)
    await asyncio.sleep(1)
    assert not is_isolated(engine)
    assert engine.queue.isolation.spoiled_batches == {"loud": 5}
    told = [record for record in caplog.records if record.name == "app.lookup.isolation"]
    assert [getattr(record, "fields", None) for record in told] == [{"caller": "loud"}] * 2
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_batch_counts_once_however_many_poison_ids_it_has() -> None:
    _, engine = await before_poison()
    await ask(engine, [1, 2, 3, 4, *(next(fresh_poison) for _ in range(4))], caller=LOUD)
    assert engine.queue.isolation.spoiled_batches == {"loud": 1}


@on_virtual_time
async def test_a_poison_id_that_is_asked_alone_spoils_nothing() -> None:
    _, engine = await before_poison()
    for _ in range(10):
        await ask(engine, [next(fresh_poison)], caller=LOUD)
    assert not engine.queue.isolation.spoiled_batches


@on_virtual_time
async def test_isolated_callers_share_no_request_with_others_and_have_one_at_a_time_together() -> None:
    platform, engine = await before_poison()
    await spoil(engine, 3)
    await spoil(engine, 3, OTHER)
    platform.requests.clear()
    platform.latency = 1.0
    tasks = [start(engine, [10, 11], LOUD)]
    for batch, caller in (([20, 21], OTHER), ([30, 31], QUIET), ([12, 22], LOUD), ([40], QUIET)):
        await asyncio.sleep(0.01)
        tasks.append(start(engine, batch, caller))
    await asyncio.gather(*tasks)
    assert [request.ids for request in platform.requests] == [[10, 11], [30, 31], [40], [20, 12, 21, 22]]
    await assert_nothing_left(engine)


@on_virtual_time
async def test_what_a_caller_has_queued_when_it_is_isolated_is_kept_apart_too() -> None:
    platform, engine = await before_poison(max_in_flight=1)
    await spoil(engine, 2)
    platform.latency = 1.0
    spoiling = asyncio.create_task(spoil(engine))
    await asyncio.sleep(0.1)
    queued = [start(engine, ids, caller) for ids, caller in (([10, 11], LOUD), ([20, 21, 12], QUIET), ([12], LOUD))]
    await spoiling
    await asyncio.gather(*queued, return_exceptions=True)
    assert all(not ({10, 11} & {*request.ids} and {20, 21} & {*request.ids}) for request in platform.requests)
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_id_that_an_ordinary_caller_waits_for_too_goes_with_whoever_has_the_first_turn() -> None:
    platform, engine = await before_poison(max_in_flight=1)
    await spoil(engine, 3)
    platform.latency = 1.0
    platform.requests.clear()
    first = start(engine, [30], QUIET)
    await asyncio.sleep(0.1)
    loud = start(engine, [10, 11], LOUD)
    await asyncio.sleep(0.1)
    quiet = start(engine, [11, 20], QUIET)
    await asyncio.gather(first, loud, quiet)
    assert sorted(request.ids for request in platform.requests) in ([[10, 11], [20], [30]], [[10], [11, 20], [30]])
    await assert_nothing_left(engine)


@on_virtual_time
async def test_with_one_slot_the_splits_of_isolated_callers_let_others_in_between() -> None:
    platform, engine = await before_poison(max_in_flight=1)
    await spoil(engine, 3)
    platform.requests.clear()
    loud = start(engine, [*range(100, 120), *(next(fresh_poison) for _ in range(4))], LOUD)
    for id_ in range(8):
        await asyncio.sleep(0.001)
        started = loop().time()
        await ask(engine, id_ + 50, caller=QUIET)
        assert loop().time() - started <= 2 * 0.03 + 0.001
    await loud
    await assert_nothing_left(engine)


@on_virtual_time
async def test_given_up_batches_of_isolated_callers_do_not_count_for_the_circuit_breaker() -> None:
    _, engine = await before_poison()
    await spoil(engine, 3)
    for _ in range(20):
        await ask(engine, [next(fresh_poison) for _ in range(10)], caller=LOUD)
    assert engine.policy.circuit_breaker._failures == 0
    await asyncio.sleep(59)
    assert is_isolated(engine), "they do count as spoiled"


@on_virtual_time
async def test_a_caller_whose_batches_are_given_up_while_others_are_answered_is_isolated() -> None:
    platform, engine = await before_poison()
    platform.latency = 0.1

    async def quiet() -> None:
        for id_ in range(100):
            await ask(engine, id_, caller=QUIET)

    task = asyncio.create_task(quiet())
    for _ in range(3):
        await ask(engine, [next(fresh_poison) for _ in range(20)], caller=LOUD)
    assert is_isolated(engine)
    assert not is_isolated(engine, QUIET)
    await task
    await assert_nothing_left(engine)


@on_virtual_time
async def test_beside_a_caller_whose_ids_are_all_poison_one_good_id_in_the_same_batch_is_answered() -> None:
    _, engine = await before_poison()
    for number in range(4):
        loud = start(engine, [next(fresh_poison) for _ in range(20)], LOUD)
        assert kinds(await ask(engine, number, caller=QUIET)) == {"send"}
        assert kinds(await loud) == {"UnknownRefusal"}
    assert is_isolated(engine)
    assert not is_isolated(engine, QUIET)
    assert engine.policy.circuit_breaker._failures == 0
    await assert_nothing_left(engine)


@on_virtual_time
async def test_nobody_is_isolated_by_a_platform_that_refuses_everything() -> None:
    platform = PlatformInMemory(refuses=lambda ids: True)
    engine = await warmed(platform)
    for start in range(0, 1000, 100):
        await ask(engine, range(start, start + 100), caller=LOUD)
    assert engine.policy.circuit_breaker.state == "open"
    assert not engine.queue.isolation.callers


# --- what is watched ---


@on_virtual_time
async def test_a_spoiled_poll_is_laid_to_those_who_watch_the_id() -> None:
    platform = PlatformInMemory(refuses=refuses_poison, state="send")
    engine = engine_before(platform, watching=lambda id_: [LOUD, LOUD, OTHER] if id_ >= POISON else [QUIET])
    for _ in range(3):
        await ask(engine, [1, 2, next(fresh_poison)], caller=POLLS, fresh=True)
    assert is_isolated(engine, LOUD)
    assert is_isolated(engine, OTHER)
    assert engine.queue.isolation.spoiled_batches == {"loud": 3, "other": 3}
    await assert_nothing_left(engine)


@on_virtual_time
async def test_polls_for_isolated_callers_alone_are_kept_apart() -> None:
    platform = PlatformInMemory(refuses=refuses_poison, state="send")
    watching = {10: [LOUD], 11: [LOUD, QUIET], 12: [QUIET]}
    engine = engine_before(platform, watching=lambda id_: watching.get(id_, []))
    await spoil(engine, 3)
    platform.requests.clear()
    await ask(engine, [10, 11, 12], caller=POLLS, fresh=True)
    assert sorted(request.ids for request in platform.requests) == [[10], [11, 12]]


@on_virtual_time
async def test_polls_that_wait_when_their_callers_are_isolated_are_kept_apart_too() -> None:
    platform = PlatformInMemory(refuses=refuses_poison, state="send", latency=1.0)
    watching = {10: [LOUD], 12: [QUIET]}
    engine = engine_before(platform, max_in_flight=1, watching=lambda id_: watching.get(id_, []))
    platform.latency = 0.01
    await spoil(engine, 2)
    spoiling = asyncio.create_task(spoil(engine))
    await asyncio.sleep(0.005)
    polled = asyncio.create_task(ask(engine, [10, 12], caller=POLLS, fresh=True))
    await asyncio.gather(spoiling, polled)
    assert {10, 12} not in [{*request.ids} for request in platform.requests]
    assert kinds(polled.result()) == {"send"}
    await assert_nothing_left(engine)
