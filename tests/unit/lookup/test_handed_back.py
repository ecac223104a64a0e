"""Ids that a platform which answers arrays in part made wait once more: whoever waits for them gets an answer."""

import asyncio

from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_two_questions_for_one_id_that_become_one_answer_the_callers_of_both() -> None:
    platform = PlatformInMemory(answers_first=1)
    engine = await warmed(platform, max_in_flight=2)
    started = loop().time()
    plain = asyncio.create_task(ask(engine, range(10)))
    await asyncio.sleep(0.01)
    detailed = asyncio.create_task(ask(engine, [20, 8, 9], detail=True))
    assert kinds(await plain) == kinds(await detailed) == {"deliver"}
    assert loop().time() - started < 1
    await assert_nothing_left(engine)


@on_virtual_time
async def test_ids_that_wait_once_more_leave_in_the_order_asked_and_not_behind_those_who_came_later() -> None:
    platform = PlatformInMemory(answers_first=1)
    engine = await warmed(platform, max_in_flight=1)
    first = asyncio.create_task(ask(engine, [5, 4, 3, 2]))
    await asyncio.sleep(0.01)
    later = asyncio.create_task(ask(engine, [1]))
    assert kinds(await first) == kinds(await later) == {"deliver"}
    # The second question has answered 4.
    alone = [request.ids for request in platform.requests if len(request.ids) == 1]
    assert (alone[0], sorted(alone)) == ([3], [[1], [2], [3]])
