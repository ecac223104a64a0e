"""The sentence "cache, then batcher"."""

import asyncio
import gc

import pytest

from app.lookup.engine import LookupResult
from app.lookup.failures import MessageNotFound, ServerError
from app.lookup.record import MessageRecord
from app.lookup.waiter import Source
from tests.support.lookup import (
    LATENCY,
    WHEN,
    PlatformInMemory,
    ask,
    assert_nothing_left,
    at_once,
    engine_before,
    kinds,
)
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_a_cached_answer_tells_its_age_and_the_whole_lifetime_of_its_kind() -> None:
    engine = engine_before(PlatformInMemory(states={2: "read"}, unknown={3}))
    fresh = await engine.lookup([1, 2, 3], False)
    assert [(each.age, each.lifetime, each.source) for each in fresh.values()] == [
        (0, 60, Source.UPSTREAM),
        (0, 86400, Source.UPSTREAM),
        (0, 2, Source.UPSTREAM),
    ]
    await asyncio.sleep(1.5)
    cached = await engine.lookup([1, 2, 3], False)
    assert [round(each.age, 1) for each in cached.values()] == pytest.approx([1.5, 1.5, 1.5], abs=0.2)
    assert [(each.lifetime, each.source) for each in cached.values()] == [
        (60, Source.CACHE),
        (86400, Source.CACHE),
        (2, Source.CACHE),
    ]


@on_virtual_time
async def test_each_answer_is_handed_over_as_soon_as_it_is_there() -> None:
    engine = engine_before(PlatformInMemory(), max_in_flight=1, batch_size=2)
    await engine.lookup([9], False)
    started = loop().time()
    heard: list[tuple[int, Source, float]] = []

    def hear(id_: int, found: LookupResult) -> None:
        heard.append((id_, found.source, loop().time() - started))

    found = await engine.lookup([1, 2, 9, 3, 4], False, on_result=hear)
    assert [(id_, source) for id_, source, _ in heard] == [
        (9, Source.CACHE), *((id_, Source.UPSTREAM) for id_ in (1, 2, 3, 4)),
    ]  # fmt: skip
    assert [at for *_, at in heard] == pytest.approx([0, LATENCY, LATENCY, 2 * LATENCY, 2 * LATENCY])
    assert list(found) == [1, 2, 9, 3, 4]


@on_virtual_time
async def test_who_fails_over_an_answer_fails_alone() -> None:
    engine = engine_before(PlatformInMemory())

    def fail(_id: int, _found: LookupResult) -> None:
        raise ZeroDivisionError

    failing, other = await asyncio.gather(
        engine.lookup([1, 2], False, on_result=fail), engine.lookup([1, 2, 3], False), return_exceptions=True
    )
    assert isinstance(failing, ZeroDivisionError)
    assert isinstance(other, dict)
    assert kinds(each.answer for each in other.values()) == {"deliver"}
    await assert_nothing_left(engine)


@on_virtual_time
async def test_who_fails_over_a_refusal_leaves_nothing_in_the_queue() -> None:
    engine = engine_before(PlatformInMemory(), max_queued=2)

    def fail(_id: int, _found: LookupResult) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await engine.lookup([1, 2, 3], False, on_result=fail)
    await assert_nothing_left(engine)
    assert kinds(await ask(engine, [1, 2])) == {"deliver"}


@on_virtual_time
async def test_a_lookup_leaves_the_garbage_collector_nothing_to_do() -> None:
    # One object in a circle for each request doubled the p99 under load (docs/performance.md).
    engine = engine_before(PlatformInMemory(unknown={3}), batch_size=2)
    await engine.lookup([9], False)
    gc.collect()
    gc.disable()
    try:
        for start in (0, 10, 20):
            ids = range(start, start + 9)
            await asyncio.gather(engine.lookup(ids, False, on_result=lambda _id, _found: None), at_once(engine, ids))
        assert gc.collect() == 0
    finally:
        gc.enable()


@on_virtual_time
async def test_a_failure_is_not_kept_and_has_no_lifetime() -> None:
    platform = PlatformInMemory(script=[ServerError, ServerError])
    engine = engine_before(platform)
    found = await engine.lookup([1], False)
    assert kinds([found[1].answer]) == {"ServerError"}
    assert found[1].lifetime == 0
    assert found[1].source is Source.UPSTREAM
    assert kinds(await ask(engine, 1)) == {"deliver"}


@on_virtual_time
async def test_ids_are_asked_once_and_answered_in_the_order_asked() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    await ask(engine, 5)
    assert list(await engine.lookup([9, 5, 9, 1, 5], False)) == [9, 5, 1]
    assert platform.requests[-1].ids == [9, 1]


@on_virtual_time
async def test_no_ids_are_no_question() -> None:
    platform = PlatformInMemory()
    assert await engine_before(platform).lookup([], False) == {}
    assert platform.requests == []


@on_virtual_time
async def test_a_cached_entry_with_detail_serves_both() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    await ask(engine, 1, detail=True)
    assert await ask(engine, 1, detail=True) == await ask(engine, 1)
    assert len(platform.requests) == 1


@pytest.mark.parametrize("state", ["deliver", "read"])
@on_virtual_time
async def test_a_cached_entry_without_detail_does_not_serve_who_wants_it(state: str) -> None:
    platform = PlatformInMemory(state=state)
    engine = engine_before(platform)
    await ask(engine, 1)
    (answer,) = await ask(engine, 1, detail=True)
    assert answer == MessageRecord(1, state, WHEN, 1, "10.6000000", detailed=True)
    assert [request.entries for request in platform.requests] == [{1: False}, {1: True}]


@on_virtual_time
async def test_no_cache_asks_anew_for_what_may_change() -> None:
    platform = PlatformInMemory(unknown={2})
    engine = engine_before(platform)
    await ask(engine, [1, 2])
    platform.requests.clear()
    found = await engine.lookup([1, 2], False, fresh=True)
    assert platform.requests[0].ids == [1, 2]
    assert all(each.source is Source.UPSTREAM for each in found.values())


@on_virtual_time
async def test_no_cache_does_not_ask_for_a_final_state_that_is_known_with_the_detail_asked_for() -> None:
    platform = PlatformInMemory(state="read")
    engine = engine_before(platform)
    await ask(engine, 1)
    await ask(engine, 1, fresh=True)
    assert len(platform.requests) == 1
    await ask(engine, 1, detail=True, fresh=True)
    await ask(engine, 1, detail=True, fresh=True)
    await ask(engine, 1, fresh=True)
    assert len(platform.requests) == 2


@on_virtual_time
async def test_no_cache_may_join_a_request_in_flight() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = engine_before(platform)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.5)
    await asyncio.gather(first, ask(engine, 1, fresh=True))
    assert len(platform.requests) == 1


@on_virtual_time
async def test_a_later_pending_reply_does_not_undo_a_final_state_for_anybody() -> None:
    latencies = iter([1.0, 0.1])
    platform = PlatformInMemory(latency=lambda: next(latencies), states={1: "read"})
    engine = engine_before(platform)
    slow = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.1)
    assert kinds(await ask(engine, 1, detail=True)) == {"read"}
    platform.states[1] = "send"
    assert kinds(await slow) == {"read"}
    assert kinds(await ask(engine, 1)) == {"read"}


@on_virtual_time
async def test_unknown_ids_are_remembered_for_a_short_while() -> None:
    platform = PlatformInMemory(unknown={1})
    engine = engine_before(platform)
    assert [type(answer) for answer in await ask(engine, 1)] == [MessageNotFound]
    await ask(engine, 1)
    assert len(platform.requests) == 1
    await asyncio.sleep(2)
    platform.unknown = set()
    assert kinds(await ask(engine, 1)) == {"deliver"}
