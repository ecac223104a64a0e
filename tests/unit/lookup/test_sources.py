"""Where each answer came from: it decides what the metrics, the log and ``Cache-Status`` say."""

import asyncio

from app.lookup.engine import Engine
from app.lookup.failures import CredentialsRejected
from app.lookup.record import MessageRecord
from app.lookup.waiter import Source
from tests.support.lookup import PlatformInMemory, engine_before, warmed
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import watcher_before


async def sources(engine: Engine, *ids: int) -> list[Source]:
    return [found.source for found in (await engine.lookup(ids, False)).values()]


@on_virtual_time
async def test_who_asks_for_an_id_that_is_asked_for_already_has_joined_and_only_the_first_cost_an_entry() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, max_in_flight=1)
    in_flight = asyncio.create_task(sources(engine, 1))
    await asyncio.sleep(0.5)
    first, second = (asyncio.create_task(sources(engine, *ids)) for ids in ((1, 2), (2, 1, 3)))
    assert await in_flight == [Source.UPSTREAM]
    assert await first == [Source.JOINED, Source.UPSTREAM]
    assert await second == [Source.JOINED, Source.JOINED, Source.UPSTREAM]
    assert await sources(engine, 1, 2) == [Source.CACHE, Source.CACHE]
    assert platform.entries_sent == engine.lookups[Source.UPSTREAM] - 1 == 3, "but for the one that warmed it up"
    assert engine.lookups[Source.JOINED] == 3


@on_virtual_time
async def test_what_is_not_asked_is_refused_whether_the_queue_is_full_or_the_way_is_shut() -> None:
    platform = PlatformInMemory()
    engine = engine_before(platform, max_queued=2)
    assert await sources(engine, 1, 2, 3, 4) == [Source.UPSTREAM, Source.UPSTREAM, Source.REFUSED, Source.REFUSED]
    platform.failing = CredentialsRejected
    assert await sources(engine, 5) == [Source.UPSTREAM]
    assert await sources(engine, 6, 1) == [Source.REFUSED, Source.CACHE]
    assert engine.failures == {"overloaded": 2, "upstream-credentials-rejected": 2}


@on_virtual_time
async def test_those_who_watch_are_told_what_counts_and_not_what_a_late_reply_says() -> None:
    latencies = iter([1.0, 0.1])
    platform = PlatformInMemory(latency=lambda: next(latencies), states={1: "read"})
    engine, watching = watcher_before(platform)
    slow = asyncio.create_task(sources(engine, 1))
    await asyncio.sleep(0.1)
    await engine.lookup([1], True)
    subscription = watching.subscribe([1], False)
    platform.states[1] = "send"
    await slow
    answer = watching.snapshot(1).answer
    assert isinstance(answer, MessageRecord)
    assert answer.state == "read"
    subscription.close()
