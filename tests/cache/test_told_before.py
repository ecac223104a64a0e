"""What is remembered of what replicas have told each other is bounded, and serves as long as it is remembered."""

import asyncio

import pytest

from app.lookup.cache import broadcast
from app.lookup.record import MessageRecord
from tests.cache.test_broadcast import Replica, replicas
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio

BOUND = 10


async def tell(one: Replica, other: Replica, *ids: int) -> list[int]:
    """Let one replica tell of these messages, always the same of each; of which of them the other one hears."""
    before = len(other.heard)
    for id_ in ids:
        one.publishes(id_, MessageRecord(id_, "deliver"))
    marker = MessageRecord(999, f"marker-{before}")
    one.publishes(999, marker)
    async with asyncio.timeout(20):
        while (999, marker) not in other.heard:
            await asyncio.sleep(0.002)
    return [id_ for id_, _ in other.heard[before:] if id_ != 999]


async def test_what_was_told_is_not_told_again_until_it_is_forgotten_the_least_recent_first(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "MAX_KNOWN", BOUND)
    async with replicas(shared_redis) as (one, other):
        assert await tell(one, other, 1, 2, 3) == [1, 2, 3]
        assert await tell(one, other, 1, 2, 3) == []
        assert await tell(one, other, *range(4, 10), 1) == list(range(4, 10))
        # With the marker these are more than may be remembered: 2 and 3 go, and 1, which was told of since, does not.
        assert await tell(one, other, 10, 11) == [10, 11]
        assert await tell(one, other, 1) == []
        assert await tell(one, other, 2, 3) == [2, 3]
        assert await tell(one, other, *range(100, 200)) == list(range(100, 200))
        assert await tell(one, other, 1) == [1]


async def test_what_was_heard_is_bounded_as_well(shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "MAX_KNOWN", BOUND)
    async with replicas(shared_redis) as (one, other):
        assert await tell(one, other, 1) == [1]
        await tell(one, other, *range(100, 200))
        # The other one has heard of 1 and forgotten it since, so it tells of it when it learns it by itself.
        assert await tell(other, one, 1, 199) == [1]


async def test_of_two_changes_that_wait_to_be_told_the_later_one_is_also_at_the_end(shared_redis: RedisServer) -> None:
    async with replicas(shared_redis) as (one, other):
        for state in ("send", "deliver", "read"):
            one.publishes(1, MessageRecord(1, state))
        await one.broadcast.aclose()
        async with asyncio.timeout(20):
            while not other.heard:
                await asyncio.sleep(0.002)
        assert other.heard == [(1, MessageRecord(1, "read"))]


async def test_what_waits_to_be_told_is_bounded_and_changes_of_what_waits_are_taken(
    shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "MAX_UNPUBLISHED", BOUND)
    async with replicas(shared_redis) as (one, other):
        for id_ in range(1, 31):
            one.publishes(id_, MessageRecord(id_, "deliver"))
        one.publishes(1, MessageRecord(1, "read"))
        await one.broadcast.aclose()
        async with asyncio.timeout(20):
            while len(other.heard) < BOUND:
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        assert [id_ for id_, _ in other.heard] == list(range(1, BOUND + 1))
        assert other.heard[0] == (1, MessageRecord(1, "read"))
