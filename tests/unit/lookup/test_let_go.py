"""What is over is let go: nothing grows with the number of lookups, waits and poison ids that have been."""

import asyncio
import gc
import weakref

import pytest

from app.lookup import isolation
from app.lookup.engine import Found
from tests.support.held import integers_held_by
from tests.support.lookup import PlatformInMemory, ask, engine_before, kinds
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import watching_before


def tasks_alive() -> int:
    """Tasks that somebody still holds, finished ones included."""
    gc.collect()
    return sum(isinstance(each, asyncio.Task) for each in gc.get_objects())


@on_virtual_time
async def test_a_poll_cycle_that_is_over_is_let_go() -> None:
    _, watching = watching_before(PlatformInMemory(state="send"))
    subscription = watching.subscribe([1], False)
    await asyncio.sleep(20)
    before = tasks_alive()
    await asyncio.sleep(100)
    assert tasks_alive() <= before + 2
    subscription.close()
    await watching.aclose()


@on_virtual_time
async def test_a_caller_that_has_its_answers_is_let_go_with_the_next_one() -> None:
    engine = engine_before(PlatformInMemory(latency=0.001))
    callers = []
    for id_ in range(50):

        def on_found(_id: int, _found: Found) -> None:
            """Something of the caller's that the engine holds while it waits."""

        callers.append(weakref.ref(on_found))
        await engine.lookup([id_], False, on_found=on_found)
        del on_found
    assert sum(caller() is not None for caller in callers) <= 1


@on_virtual_time
async def test_poison_ids_whose_time_is_over_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MAX_CULPRITS", 5)
    platform = PlatformInMemory()
    # Numbers that stand for nothing else.
    poison = [7_000_000_000_000 + number for number in range(40)]
    platform.poisons(*poison)
    engine = engine_before(platform, max_entries=1)
    for id_ in poison:
        assert kinds(await ask(engine, [id_, 1], fresh=True)) == {"UnknownRefusal", "deliver"}
        await asyncio.sleep(61)
    platform.requests.clear()
    platform.refuses = lambda ids: False
    poison_ids = set(poison)
    await ask(engine, [1, 2, 3], fresh=True)
    assert len(integers_held_by(engine) & poison_ids) <= 6


@on_virtual_time
async def test_of_the_ids_that_may_stand_as_canaries_only_a_few_are_remembered() -> None:
    ids = [8_000_000_000_000 + number for number in range(50)]
    platform = PlatformInMemory()
    engine = engine_before(platform, max_entries=1)
    for id_ in ids:
        await ask(engine, id_)
    platform.requests.clear()
    assert len(integers_held_by(engine) & {*ids}) <= 10
