"""Many callers, one request: joining, leaving, room, cancellation, stopping."""

import asyncio
from collections import Counter

import pytest

from app.lookup.dispatcher import CALLERS_PER_TURN
from app.lookup.failures import MessageNotFound, Overloaded
from app.lookup.record import MessageRecord
from tests.support.lookup import (
    LATENCY,
    PlatformInMemory,
    ask,
    assert_nothing_left,
    at_once,
    engine_before,
    kinds,
    warmed,
)
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_an_idle_service_adds_no_waiting() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    started = loop().time()
    await ask(engine, 1)
    assert platform.requests[0].at == started
    assert loop().time() - started == pytest.approx(LATENCY)
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_free_slot_is_used_while_other_requests_are_out() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform)
    callers = []
    for id_ in range(4):
        callers.append(asyncio.create_task(ask(engine, id_)))
        await asyncio.sleep(0.01)
    assert [request.ids for request in platform.requests] == [[0], [1], [2], [3]]
    assert {round(request.at % 1, 2) for request in platform.requests} == {0.0, 0.01, 0.02, 0.03}
    await asyncio.gather(*callers)


@on_virtual_time
async def test_one_turn_of_the_loop_leaves_as_one_request() -> None:
    platform = PlatformInMemory()
    await at_once(engine_before(platform), range(100))
    assert [request.ids for request in platform.requests] == [list(range(100))]


@on_virtual_time
async def test_while_all_slots_are_taken_ids_gather_and_leave_oldest_first() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, max_in_flight=1, batch_size=3)
    first = asyncio.create_task(ask(engine, 100))
    await asyncio.sleep(0.1)
    later = [asyncio.create_task(ask(engine, id_)) for id_ in (5, 3, 9, 1, 7)]
    await asyncio.gather(first, *later)
    assert [request.ids for request in platform.requests] == [[100], [5, 3, 9], [1, 7]]


@on_virtual_time
async def test_until_the_platform_has_answered_once_only_two_requests_leave() -> None:
    platform = PlatformInMemory()
    await at_once(engine_before(platform), range(1000))
    assert platform.requests[2].at > platform.requests[1].at == platform.requests[0].at
    assert platform.most_in_flight == 4


@on_virtual_time
async def test_who_asks_for_an_id_in_flight_joins_it() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.9)
    started = loop().time()
    assert kinds(await ask(engine, [1, 2]))
    assert platform.count_of(1) == 1
    assert loop().time() - started == pytest.approx(1.0)
    await first


@on_virtual_time
async def test_who_wants_detail_never_joins_an_entry_sent_without_it() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform)
    plain = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.1)
    detailed = await ask(engine, 1, detail=True)
    assert [request.entries for request in platform.requests] == [{1: False}, {1: True}]
    assert [answer.parts for answer in detailed if isinstance(answer, MessageRecord)] == [1]
    await plain


@on_virtual_time
async def test_who_wants_no_detail_joins_an_entry_sent_with_it() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform)
    detailed = asyncio.create_task(ask(engine, 1, detail=True))
    await asyncio.sleep(0.1)
    await asyncio.gather(ask(engine, 1), detailed)
    assert [request.entries for request in platform.requests] == [{1: True}]


@on_virtual_time
async def test_an_entry_still_queued_takes_on_the_detail_of_a_later_caller() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    plain, detailed = await asyncio.gather(ask(engine, 1), ask(engine, 1, detail=True))
    assert [request.entries for request in platform.requests] == [{1: True}]
    assert plain == detailed


@on_virtual_time
async def test_ids_beyond_the_room_in_the_queue_are_overloaded_and_the_others_answered() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform, max_queued=10)
    answers = await ask(engine, range(25))
    assert kinds(answers[:10]) == {"deliver"}
    assert kinds(answers[10:]) == {"Overloaded"}
    assert all(answer.retry_after for answer in answers[10:] if isinstance(answer, Overloaded))
    await assert_nothing_left(engine)


@on_virtual_time
async def test_only_misses_take_room_in_the_queue_and_joining_takes_none() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform, max_queued=10)
    await ask(engine, range(10))
    answers = await asyncio.gather(*(ask(engine, range(20)) for _ in range(3)))
    assert {kind for each in answers for kind in kinds(each)} == {"deliver"}


@on_virtual_time
async def test_a_caller_that_leaves_takes_nothing_from_the_others() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform)
    leaving = asyncio.create_task(ask(engine, [1, 2]))
    staying = asyncio.create_task(ask(engine, [1, 3]))
    await asyncio.sleep(0.5)
    leaving.cancel()
    assert kinds(await staying) == {"deliver"}
    assert leaving.cancelled()
    assert kinds(await ask(engine, 2)) == {"deliver"}
    assert platform.count_of(2) == 1, "once sent, an entry runs to its end, for the cache"
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_entry_that_nobody_waits_for_any_more_is_dropped_before_it_is_sent() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, max_in_flight=1)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.1)
    leaving = [asyncio.create_task(ask(engine, id_)) for id_ in (2, 3)]
    staying = asyncio.create_task(ask(engine, 3))
    await asyncio.sleep(0.1)
    for caller in leaving:
        caller.cancel()
    await asyncio.gather(first, staying)
    assert [request.ids for request in platform.requests] == [[1], [3]]
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_entry_that_everybody_left_serves_the_next_caller() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, max_in_flight=1)
    first = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.1)
    leaving = asyncio.create_task(ask(engine, 2))
    await asyncio.sleep(0.1)
    leaving.cancel()
    await asyncio.sleep(0.1)
    answers, _ = await asyncio.gather(ask(engine, 2), first)
    assert kinds(answers) == {"deliver"}


@on_virtual_time
async def test_one_reply_answers_each_id_with_its_own_answer() -> None:
    platform = PlatformInMemory(states={1: "read", 2: "send"}, odd_entries={3: MessageNotFound})
    engine = engine_before(platform)
    answers = {id_: found.answer for id_, found in (await engine.lookup([3, 1, 2], False)).items()}
    assert list(answers) == [3, 1, 2]
    assert [kinds([answer]).pop() for answer in answers.values()] == ["MessageNotFound", "read", "send"]
    assert [answer.id for answer in answers.values() if isinstance(answer, MessageRecord)] == [1, 2]


@on_virtual_time
async def test_a_large_reply_leaves_room_for_others_between_its_callers() -> None:
    engine = await warmed(PlatformInMemory(latency=0.0))
    turn, turns_of_answers = 0, list[int]()

    async def caller(id_: int) -> None:
        await engine.lookup([id_], detail=False)
        turns_of_answers.append(turn)

    callers = [asyncio.create_task(caller(id_)) for id_ in range(100)]
    while len(turns_of_answers) < len(callers):
        await asyncio.sleep(0)
        turn += 1
    assert max(Counter(turns_of_answers).values()) == CALLERS_PER_TURN


@on_virtual_time
async def test_one_callers_batch_is_answered_in_as_few_turns_as_one_id() -> None:
    engine = await warmed(PlatformInMemory(latency=0.0))

    async def turns(ids: range) -> int:
        asked = asyncio.create_task(engine.lookup(ids, detail=False))
        count = 0
        while not asked.done():
            await asyncio.sleep(0)
            count += 1
        return count

    assert await turns(range(100)) == await turns(range(100, 101))
