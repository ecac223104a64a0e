"""What is over is let go: nothing grows with the number of lookups, waits and poison ids that have been."""

import asyncio
import gc
import weakref

import pytest

from app.lookup import batching, isolation
from app.lookup.caller import Caller
from app.lookup.engine import Engine, LookupResult
from app.lookup.failures import RepeatedRequest
from app.lookup.waiter import Waiter
from tests.support.held import integers_held_by, strings_held_by
from tests.support.lookup import PlatformInMemory, ask, engine_before, kinds
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import watcher_before


def tasks_alive() -> int:
    """Tasks that somebody still holds, finished ones included."""
    gc.collect()
    return sum(isinstance(each, asyncio.Task) for each in gc.get_objects())


@on_virtual_time
async def test_a_poll_cycle_that_is_over_is_let_go() -> None:
    _, watching = watcher_before(PlatformInMemory(state="send"))
    subscription = watching.subscribe([1], False)
    await asyncio.sleep(20)
    before = tasks_alive()
    questions = sum(isinstance(each, Waiter) for each in gc.get_objects())
    await asyncio.sleep(100)
    assert tasks_alive() <= before + 2
    assert sum(isinstance(each, Waiter) for each in gc.get_objects()) <= questions + 2
    subscription.close()
    await watching.aclose()


@on_virtual_time
async def test_a_caller_that_has_its_answers_is_let_go_with_the_next_one() -> None:
    engine = engine_before(PlatformInMemory(latency=0.001))
    callers = []
    for id_ in range(50):

        def on_result(_id: int, _result: LookupResult) -> None:
            """Something of the caller's that the engine holds while it waits."""

        callers.append(weakref.ref(on_result))
        await engine.lookup([id_], False, on_result=on_result)
        del on_result
    assert sum(caller() is not None for caller in callers) <= 1


async def ask_poison(poison: list[int], *, apart: float) -> Engine:
    """An engine that has met these poison ids, each in a batch of its own, so many seconds apart."""
    platform = PlatformInMemory()
    platform.poisons(*poison)
    engine = engine_before(platform, max_entries=1)
    for id_ in poison:
        assert kinds(await ask(engine, [id_, 1], fresh=True)) == {"UnknownRefusal", "deliver"}
        await asyncio.sleep(apart)
    platform.requests.clear()
    platform.refuses = lambda ids: False
    await ask(engine, [1, 2, 3], fresh=True)
    return engine


# Numbers that stand for nothing else.
POISON = [7_000_000_000_000 + number for number in range(40)]


@on_virtual_time
async def test_poison_ids_whose_time_is_over_are_let_go() -> None:
    engine = await ask_poison(POISON, apart=61)
    assert integers_held_by(engine).isdisjoint(POISON)


@on_virtual_time
async def test_of_many_poison_ids_the_oldest_are_let_go_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_POISON", 5)
    engine = await ask_poison(POISON, apart=0.1)
    assert integers_held_by(engine) & {*POISON} == {*POISON[-5:]}


@on_virtual_time
async def test_of_the_ids_that_are_withheld_only_some_are_remembered_for_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batching, "MAX_WITHHELD", 5)
    platform = PlatformInMemory()
    engine = engine_before(platform, max_entries=1)
    for id_ in POISON:
        platform.odd_entries[id_] = lambda: RepeatedRequest("the same request twice")
        await ask(engine, id_)
    platform.odd_entries.clear()
    platform.requests.clear()
    assert integers_held_by(engine) & {*POISON} == {*POISON[-5:]}
    assert kinds(await ask(engine, POISON[-1])) == {"RepeatedRequest"}
    await asyncio.sleep(61)
    assert kinds(await ask(engine, POISON[-1])) == {"deliver"}
    platform.requests.clear()
    assert len(engine.batching.repeated) == 4


@on_virtual_time
async def test_of_the_callers_that_have_spoiled_a_batch_only_some_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(isolation, "MAX_SUSPECTS", 5)
    platform = PlatformInMemory()
    platform.poisons(*POISON)
    engine = engine_before(platform)
    callers = [Caller(f"suspect {number}", "address") for number in range(10)]
    for caller, id_ in zip(callers, POISON, strict=False):
        await ask(engine, [id_, 1], fresh=True, caller=caller)
    held = [caller.identity in strings_held_by(engine) for caller in callers]
    assert held == [False] * 5 + [True] * 5


@on_virtual_time
async def test_of_the_ids_that_may_stand_as_canaries_only_a_few_are_remembered() -> None:
    ids = [8_000_000_000_000 + number for number in range(50)]
    platform = PlatformInMemory()
    engine = engine_before(platform, max_entries=1)
    for id_ in ids:
        await ask(engine, id_)
    platform.requests.clear()
    assert len(integers_held_by(engine) & {*ids}) <= 10


@on_virtual_time
async def test_a_caller_that_no_longer_waits_for_changes_is_let_go() -> None:
    _, watching = watcher_before(PlatformInMemory(state="send"))
    callers = [Caller(f"waiter {number}", "address") for number in range(10)]
    for caller in callers:
        with watching.subscribe([1], False, caller):
            assert caller.identity in strings_held_by(watching.subscriptions)
    assert strings_held_by(watching.subscriptions).isdisjoint(caller.identity for caller in callers)
    await watching.aclose()
