"""After the end: nobody who still comes waits for anything, and cached answers go on."""

from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, engine_before, kinds
from tests.support.virtual_time import loop, on_virtual_time


@on_virtual_time
async def test_whoever_comes_after_the_end_is_told_at_once_and_the_platform_is_not_asked() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform)
    assert kinds(await ask(engine, 1)) == {"deliver"}
    await engine.batcher.abort()
    started = loop().time()
    assert kinds(await ask(engine, [2, 3])) == {"Overloaded"}
    assert kinds(await ask(engine, 1)) == {"deliver"}
    assert loop().time() == started
    assert len(platform.requests) == 1
    await assert_nothing_left(engine)
