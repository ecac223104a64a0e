"""An id that the platform refused while it was asked alone has spoiled nobody's batch."""

import asyncio

from tests.support.lookup import PlatformInMemory, ask, engine_before, kinds
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
