"""No caller is another caller's problem: whose ids go with the next request, and whose are refused."""

import asyncio
from collections.abc import Collection

import pytest

from app.lookup.caller import POLLS, Caller
from app.lookup.engine import Engine
from app.lookup.failures import LookupFailure
from app.lookup.record import Answer
from tests.support.lookup import LATENCY, PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time

LOUD, QUIET, THIRD = Caller("loud", "loud"), Caller("quiet", "quiet"), Caller("third", "third")

Asking = asyncio.Task[list[Answer]]


def start(engine: Engine, ids: Collection[int], caller: Caller, *, detail: bool = False) -> Asking:
    """Ask in a task of its own."""
    return asyncio.create_task(ask(engine, ids, caller=caller, detail=detail))


async def behind_one_request(engine: Engine, *asked: tuple[Collection[int], Caller]) -> list[Asking]:
    """Ask while the only slot is taken, so that all are queued, in this order."""
    first = start(engine, [100_000], THIRD)
    await asyncio.sleep(LATENCY / 2)
    tasks = [first]
    for ids, caller in asked:
        tasks.append(start(engine, ids, caller))
        await asyncio.sleep(0)
    return tasks


async def all_answers(tasks: list[Asking]) -> list[list[Answer]]:
    return await asyncio.gather(*tasks)


# --- one id each ---


@on_virtual_time
async def test_the_next_request_is_filled_with_one_id_of_each_caller_in_turn() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=5)
    await all_answers(
        await behind_one_request(engine, (range(1, 7), LOUD), (range(11, 13), QUIET), (range(21, 23), THIRD))
    )
    assert [request.ids for request in platform.requests[1:]] == [[1, 11, 21, 2, 12], [22, 3, 4, 5, 6]]
    await assert_nothing_left(engine)


@on_virtual_time
async def test_one_id_beside_eight_batches_of_a_thousand_leaves_with_the_next_request() -> None:
    platform = PlatformInMemory(latency=0.25)
    engine = await warmed(platform)
    loud = [start(engine, range(start_ * 1000, start_ * 1000 + 1000), LOUD) for start_ in range(8)]
    waits = []
    for id_ in range(50_000, 50_008):
        await asyncio.sleep(0.11)
        started = loop().time()
        assert kinds(await ask(engine, id_, caller=QUIET)) == {"deliver"}
        waits.append(loop().time() - started)
    assert max(waits) <= 2 * 0.25 + 0.001
    for task in loud:
        task.cancel()
    await asyncio.gather(*loud, return_exceptions=True)
    await assert_nothing_left(engine)


@on_virtual_time
async def test_as_many_callers_as_a_request_has_places_leave_with_the_next_one() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, max_in_flight=1, batch_size=10)
    callers = [Caller(f"caller {number}", "address") for number in range(9)]
    tasks = await behind_one_request(
        engine, (range(1000, 1100), LOUD), *(([number], caller) for number, caller in enumerate(callers))
    )
    await asyncio.sleep(1.1)
    assert set(range(9)) < set(platform.requests[1].ids)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_id_that_several_wait_for_leaves_at_the_turn_of_whoever_comes_first() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=2)
    await all_answers(await behind_one_request(engine, ([1, 2, 3, 4], LOUD), ([4], QUIET), ([4, 5], THIRD)))
    assert [request.ids for request in platform.requests[1:]] == [[1, 4], [5, 2], [3]]


@on_virtual_time
async def test_an_id_that_several_wait_for_has_one_place_in_a_request() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=4)
    await all_answers(await behind_one_request(engine, ([1, 2], LOUD), ([1, 3], QUIET), ([1, 4], THIRD)))
    assert [request.ids for request in platform.requests[1:]] == [[1, 3, 4, 2]]


@on_virtual_time
async def test_who_leaves_takes_no_turn_from_the_others_and_keeps_none_for_what_others_wait_for() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=2)
    tasks = await behind_one_request(engine, (range(1, 100), LOUD), ([50, 60, 61], QUIET))
    tasks.pop(1).cancel()
    await all_answers(tasks)
    assert [request.ids for request in platform.requests[1:]] == [[50, 60], [61]]
    await assert_nothing_left(engine)


# --- room ---


@on_virtual_time
async def test_where_the_queue_is_full_the_newest_id_of_the_caller_with_the_most_is_refused() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, max_queued=10)
    tasks = await behind_one_request(engine, (range(8), LOUD), ([20, 21], THIRD), ([30, 31, 32], QUIET))
    _, loud, third, quiet = await all_answers(tasks)
    assert [kinds([answer]) for answer in loud] == [{"deliver"}] * 5 + [{"Overloaded"}] * 3
    assert kinds(third) == kinds(quiet) == {"deliver"}
    assert engine.queue.refused == {"loud": 3}
    await assert_nothing_left(engine)


@on_virtual_time
async def test_the_one_who_comes_is_refused_where_nobody_has_more() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, max_queued=4)
    tasks = await behind_one_request(engine, ([1, 2], LOUD), ([3, 4], THIRD), ([5, 6, 7], QUIET))
    _, loud, third, quiet = await all_answers(tasks)
    assert kinds(quiet[:1]) == {"deliver"}
    assert kinds(quiet[1:]) == {"Overloaded"}
    assert sorted(kind for answers in (loud, third) for answer in answers for kind in kinds([answer])) == [
        "Overloaded",
        "deliver",
        "deliver",
        "deliver",
    ]


@on_virtual_time
async def test_an_id_that_somebody_else_waits_for_too_is_not_refused_to_both() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, max_queued=4)
    tasks = await behind_one_request(engine, ([1, 2, 3, 4], LOUD), ([4], THIRD), ([9], QUIET))
    _, loud, third, quiet = await all_answers(tasks)
    assert [kinds([answer]).pop() for answer in loud] == ["deliver", "deliver", "Overloaded", "Overloaded"]
    assert kinds(third) == kinds(quiet) == {"deliver"}
    await assert_nothing_left(engine)


# --- ids that are asked alone ---


@on_virtual_time
async def test_known_poison_ids_have_every_second_request_while_others_wait() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, max_in_flight=1, batch_size=4)
    platform.poisons(1, 2)
    await ask(engine, [1, 2, 3, 4], caller=LOUD)
    platform.requests.clear()
    tasks = await behind_one_request(engine, ([1, 2], LOUD), (range(10, 22), QUIET))
    await all_answers(tasks)
    assert [request.ids for request in platform.requests[1:]] == [
        [10, 11, 12, 13],
        [1],
        [14, 15, 16, 17],
        [2],
        [18, 19, 20, 21],
    ]


@on_virtual_time
async def test_ids_asked_again_since_a_reply_left_them_out_wait_for_no_longer_than_new_ones() -> None:
    platform = PlatformInMemory(unknown=range(1, 1000))
    engine = await warmed(platform, max_in_flight=1, batch_size=4)
    tasks = await behind_one_request(engine, (range(1, 9), LOUD))
    await asyncio.sleep(LATENCY)
    tasks.append(start(engine, [2000], QUIET))
    await all_answers(tasks)
    # [1, 2, 3, 4], then with the canary [1, 2, 3], and [4] not before QUIET's id.
    quiet = next(number for number, request in enumerate(platform.requests) if 2000 in request.ids)
    assert quiet <= 3


# --- the watcher's polls ---


def poll(engine: Engine, ids: Collection[int]) -> Asking:
    return start(engine, ids, POLLS)


def watched(platform: PlatformInMemory, **options: int) -> Engine:
    return engine_before(platform, watching=lambda _id: [QUIET], **options)


@on_virtual_time
async def test_polls_take_what_the_callers_leave_of_a_request_and_a_quarter_at_least() -> None:
    platform = PlatformInMemory()
    engine = watched(platform, max_in_flight=1, batch_size=8)
    tasks = await behind_one_request(engine, (range(100, 110), LOUD))
    tasks.append(poll(engine, range(1, 12)))
    await all_answers(tasks)
    assert [request.ids for request in platform.requests[1:]] == [
        [100, 101, 102, 103, 104, 105, 1, 2],
        [106, 107, 108, 109, 3, 4, 5, 6],
        [7, 8, 9, 10, 11],
    ]
    await assert_nothing_left(engine)


@pytest.mark.parametrize("size", [1, 2, 3])
@on_virtual_time
async def test_below_four_places_every_fourth_request_is_that_of_the_polls(size: int) -> None:
    platform = PlatformInMemory()
    engine = watched(platform, max_in_flight=1, batch_size=size)
    tasks = await behind_one_request(engine, (range(100, 100 + 9 * size), LOUD))
    tasks.append(poll(engine, range(3 * size)))
    await all_answers(tasks)
    of_polls = [request.ids[0] < 100 for request in platform.requests[1:]]
    assert sum(of_polls[:4]) == sum(of_polls[4:8]) == sum(of_polls[8:12]) == 1
    await assert_nothing_left(engine)


@on_virtual_time
async def test_polls_take_no_room_in_the_queue_and_wait_for_it_longer_than_a_deadline() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = watched(platform, max_in_flight=1, batch_size=4, max_queued=4)
    polled = poll(engine, range(40))
    await asyncio.sleep(0)
    assert kinds(await ask(engine, range(100, 104), caller=LOUD)) == {"deliver"}
    assert kinds(await polled) == {"deliver"}
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_poll_for_nobody_is_dropped() -> None:
    platform = PlatformInMemory()
    watching = {3}
    engine = engine_before(
        platform, watching=lambda id_: [QUIET] if id_ in watching else [], max_in_flight=1, batch_size=4
    )
    first = start(engine, [100], LOUD)
    await asyncio.sleep(LATENCY / 2)
    polled = poll(engine, range(10))
    assert kinds(await polled) == {"deliver"}
    assert [request.ids for request in platform.requests] == [[100], [3]]
    await first
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_polled_id_that_a_caller_asks_for_leaves_at_its_turn_and_goes_on_being_polled_when_it_leaves() -> None:
    platform = PlatformInMemory()
    engine = watched(platform, max_in_flight=1, batch_size=4)
    tasks = await behind_one_request(engine, (range(100, 112), LOUD))
    tasks.append(poll(engine, range(6)))
    await asyncio.sleep(0)
    tasks.append(start(engine, [5], QUIET))
    leaving = start(engine, [4], THIRD)
    await asyncio.sleep(0)
    leaving.cancel()
    await all_answers(tasks)
    assert 5 in platform.requests[1].ids
    assert platform.count_of(4) == platform.count_of(5) == 1
    await assert_nothing_left(engine)


@on_virtual_time
async def test_what_is_queued_is_refused_at_once_when_nothing_may_be_sent_polls_too() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = watched(platform, max_in_flight=1, batch_size=1)
    tasks = [start(engine, [number], LOUD) for number in range(3)]
    await asyncio.sleep(0.1)
    tasks.append(poll(engine, range(10, 20)))
    await asyncio.sleep(0.1)
    await engine.aclose()
    assert {kind for answers in await all_answers(tasks) for kind in kinds(answers)} == {"Overloaded"}
    assert all(isinstance(answer, LookupFailure) for answers in await all_answers(tasks) for answer in answers)


# --- what operators see ---


@on_virtual_time
async def test_it_is_known_how_many_ids_of_whom_wait_and_since_when() -> None:
    engine = await warmed(PlatformInMemory(latency=1.0), max_in_flight=1)
    tasks = await behind_one_request(engine, (range(5), LOUD))
    await asyncio.sleep(0.5)
    tasks.append(start(engine, [7, 8], QUIET))
    await asyncio.sleep(0.2)
    waiting = {label: (ids, round(seconds, 3)) for label, (ids, seconds) in engine.queue.waiting().items()}
    assert waiting == {"loud": (5, 0.7), "quiet": (2, 0.2)}
    await all_answers(tasks)
    assert engine.queue.waiting() == {}
