"""The connection to Redis: one that was closed while idle is no miss, and no reply is taken for another one's."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from app.lookup.cache import shared as shared_cache
from app.lookup.cache.redis import RedisStore
from app.lookup.cache.shared import SharedCache
from app.lookup.states import MessageRecord
from tests.cache.caches import LIFETIMES, PLATFORM, Clock, memory, own_prefix, shared
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio

WHEN = datetime(2021, 4, 26, 15, 15, 3, tzinfo=UTC)
STATES = {1: "read", 2: "not_deliver", 3: "expired"}


async def filled(redis: RedisServer) -> tuple[SharedCache, RedisStore]:
    """A replica with an empty memory, before a server that has a state for three messages."""
    prefix, clock = own_prefix(), Clock()
    other, _ = await shared(redis.url, prefix, clock)
    for id_, state in STATES.items():
        other.put(id_, MessageRecord(id_, state, WHEN))
    await other.flush()
    await other.aclose()
    return await shared(redis.url, prefix, clock)


async def state_of(cache: SharedCache, id_: int) -> str | None:
    """What a cache knows of a message."""
    cached = (await cache.get_many([id_])).get(id_)
    return cached.answer.state if cached and isinstance(cached.answer, MessageRecord) else None


async def test_a_connection_that_the_server_closed_while_it_was_idle_is_no_miss(shared_redis: RedisServer) -> None:
    cache, store = await filled(shared_redis)
    for id_, state in STATES.items():
        shared_redis.ask("CLIENT", "KILL", "TYPE", "normal")
        assert await state_of(cache, id_) == state
    assert not store.errors
    assert cache.misses == 0
    await cache.aclose()


async def test_a_write_over_a_connection_that_was_closed_while_it_was_idle_is_not_lost(
    shared_redis: RedisServer,
) -> None:
    cache, store = await filled(shared_redis)
    shared_redis.ask("CLIENT", "KILL", "TYPE", "normal")
    before = len(shared_redis.all_keys())
    cache.put(4, MessageRecord(4, "read", WHEN))
    await cache.flush()
    assert (cache.dropped, len(store.errors)) == (0, 0)
    assert len(shared_redis.all_keys()) == before + 1
    await cache.aclose()


@pytest.mark.parametrize("late", ["the time is up", "the service stops"])
async def test_a_reply_that_comes_too_late_is_not_taken_for_that_of_the_next_read(
    start_redis: Callable[..., RedisServer], late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = start_redis()
    cache, store = await filled(redis)
    redis.pause()
    if late == "the time is up":
        monkeypatch.setattr(shared_cache, "READ_LIMIT", 0.05)
        assert await state_of(cache, 1) is None
        monkeypatch.setattr(shared_cache, "READ_LIMIT", 10.0)
    else:
        reading = asyncio.create_task(store.read([1], 10.0))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    redis.resume()
    async with asyncio.timeout(20):
        while (found := await state_of(cache, 2)) is None:
            await asyncio.sleep(0.01)
    assert (found, await state_of(cache, 3), await state_of(cache, 1)) == ("not_deliver", "expired", "read")
    await cache.aclose()


async def test_what_is_written_while_the_connection_comes_about_is_not_lost(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    store = RedisStore(shared_redis.url, prefix, PLATFORM, clock, LIFETIMES)
    cache = SharedCache(memory(clock), store)
    for id_, state in STATES.items():
        cache.put(id_, MessageRecord(id_, state, WHEN))
    await cache.flush()
    other, _ = await shared(shared_redis.url, prefix, clock)
    assert [await state_of(other, id_) for id_ in STATES] == list(STATES.values())
    assert cache.dropped == 0
    await other.aclose()
    await cache.aclose()


async def test_what_was_learned_just_before_the_end_is_still_written(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    cache, _ = await shared(shared_redis.url, prefix, clock)
    cache.put(1, MessageRecord(1, "read", WHEN))
    await cache.aclose()
    other, _ = await shared(shared_redis.url, prefix, clock)
    assert await state_of(other, 1) == "read"
    await other.aclose()


async def test_of_two_answers_that_wait_to_be_written_the_later_one_is(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    cache, _ = await shared(shared_redis.url, prefix, clock)
    cache.put(1, MessageRecord(1, "send"))
    cache.put(1, MessageRecord(1, "deliver", WHEN))
    await cache.aclose()
    other, _ = await shared(shared_redis.url, prefix, clock)
    assert await state_of(other, 1) == "deliver"
    await other.aclose()


async def test_a_server_that_refuses_every_read_is_left_alone_after_five_of_them(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    cache, store = await filled(redis)
    assert await state_of(cache, 1) == "read"
    redis.ask("ACL", "SETUSER", "default", "-eval", "-evalsha")
    for _ in range(20):
        assert await state_of(cache, 2) is None
    assert store.errors == {"refused": 5}
    assert await state_of(cache, 1) == "read", "what memory has goes on"
    await cache.aclose()
