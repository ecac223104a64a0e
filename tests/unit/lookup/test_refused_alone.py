"""From when on an id is a poison id: one that was refused alone after it had spoiled a batch, and no other."""

import asyncio

from tests.support.lookup import PlatformInMemory, ask, engine_before, kinds, warmed
from tests.support.virtual_time import on_virtual_time


@on_virtual_time
async def test_an_id_that_was_refused_alone_travels_with_others() -> None:
    platform = PlatformInMemory()
    platform.poisons(1)
    engine = engine_before(platform)
    assert kinds(await ask(engine, 1)) == {"UnknownRefusal"}
    platform.refuses = lambda ids: False
    platform.requests.clear()
    assert kinds(await ask(engine, [1, 2, 3], fresh=True)) == {"deliver"}
    assert [request.ids for request in platform.requests] == [[1, 2, 3]]


@on_virtual_time
async def test_a_poison_id_that_is_refused_alone_again_stays_one_for_sixty_seconds_more() -> None:
    platform = PlatformInMemory(state="send")
    platform.poisons(1)
    engine = engine_before(platform)
    await ask(engine, [1, 2])
    await asyncio.sleep(50)
    await ask(engine, 1, fresh=True)
    platform.refuses = lambda ids: False
    for seconds, requests in ((50, 2), (11, 1)):
        await asyncio.sleep(seconds)
        platform.requests.clear()
        assert kinds(await ask(engine, [1, 2, 3], fresh=True)) == {"send"}
        assert len(platform.requests) == requests


@on_virtual_time
async def test_a_poison_id_is_asked_alone_as_soon_as_it_is_found_while_others_are_still_looked_for() -> None:
    platform = PlatformInMemory()
    platform.poisons(1, 8)
    engine = await warmed(platform, batch_size=8, max_in_flight=2)
    callers = [asyncio.create_task(ask(engine, id_)) for id_ in range(1, 9)]
    assert kinds(await callers[0]) == {"UnknownRefusal"}
    assert not callers[-1].done(), "the other one is still looked for"
    platform.requests.clear()
    again, other = await asyncio.gather(ask(engine, 1, fresh=True), ask(engine, 100))
    assert (kinds(again), kinds(other)) == ({"UnknownRefusal"}, {"deliver"})
    assert [request.ids for request in platform.requests if 1 in request.entries] == [[1]]
    await asyncio.gather(*callers)
