"""The roles of two real servers are swapped under load: no lookup fails, and replicas share again within 5 seconds."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from app.lookup.cache import redis as redis_module
from app.lookup.cache.redis import RedisStore
from app.lookup.cache.store_health import Health
from app.lookup.record import MessageRecord
from tests.cache.caches import LIFETIMES, PLATFORM, Clock, own_prefix, shared
from tests.cache.test_broadcast import Replica, listeners
from tests.cache.test_leases import IDS, watched
from tests.cache.test_leases import replicas as watching
from tests.cache.test_troubled_redis import said, under_load
from tests.support.platform import FakePlatform, Received
from tests.support.redis_pair import Pair, pair
from tests.support.redis_server import RedisServer
from tests.support.scale import scaled
from tests.support.service import service

pytestmark = pytest.mark.anyio

SHARING_AGAIN = scaled(15, 5)
"""Seconds after a swap, and what CI's machine may be late by."""
READ = MessageRecord(1, "read")


def swap_keeping_connections(both: Pair) -> None:
    """The old primary is demoted, as a managed server is: it answers reads, and refuses writes."""
    both.promote()
    both.move_address()
    both.demote()


def swap_without_stale_reads(both: Pair) -> None:
    """The old primary has lost its data, and refuses reads as well."""
    both.primary.ask("CONFIG", "SET", "replica-serve-stale-data", "no")
    both.promote()
    both.move_address()
    both.primary.ask("REPLICAOF", "127.0.0.1", "1")


def swap_leaving_the_old_one_alone(both: Pair) -> None:
    """The old primary notices that nobody follows it any more."""
    if b"redis_version:6." in both.primary.ask("INFO", "server"):
        pytest.skip("it lets scripts write all the same")
    both.promote()
    both.move_address()
    both.primary.ask("CONFIG", "SET", "min-replicas-to-write", "1")


def swap_while_loading(both: Pair) -> None:
    """The old primary follows the new one, and takes its time to load what that has."""
    both.promote()
    both.replica.ask("EVAL", "for i = 1, 3000 do redis.call('SET', 'loaded:' .. i, i) end", "0")
    both.move_address()
    # What the new one does not know makes the old one load everything anew.
    both.primary.ask("SET", "lost", "1")
    both.primary.ask("CONFIG", "SET", "key-load-delay", "1000")
    both.primary.ask("CONFIG", "SET", "loading-process-events-interval-bytes", "1024")
    both.demote()
    # No task has a turn until then: LOADING is the first that anybody hears of it.
    end = time.monotonic() + 20
    while b"loading:1" not in both.primary.ask("INFO", "persistence"):
        assert time.monotonic() < end
        time.sleep(0.005)


def swap_and_cut(both: Pair) -> None:
    """Whatever stands in front closes the connections."""
    swap_keeping_connections(both)
    both.cut_connections()


def swap_closing_the_connections_of_calls(both: Pair) -> None:
    """The old primary lets go of those who ask, and keeps those who listen."""
    both.promote()
    both.move_address()
    both.primary.ask("CLIENT", "KILL", "TYPE", "normal")


def swap_by_death(both: Pair) -> None:
    """The old primary is gone."""
    both.promote()
    both.move_address()
    both.primary.stop()


SWAPS = [
    swap_keeping_connections,
    swap_without_stale_reads,
    swap_leaving_the_old_one_alone,
    swap_while_loading,
    swap_and_cut,
    swap_closing_the_connections_of_calls,
    swap_by_death,
]


@pytest.fixture
def platform() -> FakePlatform:
    """A platform that knows every id, as read."""
    fake = FakePlatform()

    async def know(request: Received) -> None:
        for id_ in request.ids:
            fake.knows(id_, state="read")

    fake.before = know
    return fake


async def share(one: httpx.AsyncClient, other: httpx.AsyncClient, ids: Iterator[int]) -> None:
    """Wait until what one service learns costs the other nothing."""
    while True:
        id_ = next(ids)
        assert (await one.get(f"/messages/{id_}/state")).status_code == 200
        await asyncio.sleep(0.02)
        reply = await other.get(f"/messages/{id_}/state")
        assert reply.status_code == 200
        if reply.headers["cache-status"].endswith("hit"):
            return


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
async def test_roles_swapped_under_load_cost_no_lookup_and_sharing_goes_on(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], swap: Callable[[Pair], None]
) -> None:
    ids = itertools.count(5_000_000)
    async with pair(start_redis) as both:
        settings: dict[str, Any] = {"cache_url": both.url, "cache_prefix": own_prefix()}
        async with (
            service(platform, **settings) as one,
            service(platform, **settings) as other,
            under_load(one, 1000) as load,
            under_load(other, 2_000_000),
        ):
            await load.until(both.replica.all_keys)
            await share(one, other, ids)
            swap(both)
            swapped = time.monotonic()
            await share(one, other, ids)
            await share(other, one, ids)
            assert time.monotonic() - swapped < SHARING_AGAIN
            before = set(both.replica.all_keys())
            await load.until(lambda: set(both.replica.all_keys()) - before)


async def test_a_read_only_server_is_told_of_however_seldom_is_written(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    cache, store = await shared(redis.url, own_prefix(), clock := Clock())
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    for id_ in range(Health.FAILURES_IN_A_ROW):
        clock.now += 10 * Health.PAUSE
        await store.write({id_: LIFETIMES.cached(READ, clock(), clock())})
    assert said(caplog) == ["Redis rejects writes"]
    await cache.aclose()


async def test_a_server_that_stays_read_only_costs_a_new_connection_every_two_seconds_at_most(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    clock, connected = Clock(), []

    def observe(operation: str, _seconds: float, outcome: str) -> None:
        if (operation, outcome) == ("connect", "ok"):
            connected.append(clock())

    store = RedisStore(redis.url, own_prefix(), PLATFORM, clock, LIFETIMES, observe=observe)
    await store.connect()
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    for id_ in range(200):
        clock.now += Health.PAUSE / 10
        await store.write({id_: LIFETIMES.cached(READ, clock(), clock())})
    await store.aclose()
    pauses = [later - earlier for earlier, later in itertools.pairwise(connected[1:])]
    assert len(pauses) >= 15
    assert min(pauses) >= Health.PAUSE * 0.99


@pytest.mark.parametrize("swap", [swap_keeping_connections, swap_by_death], ids=lambda swap: swap.__name__)
async def test_what_several_replicas_watch_is_asked_for_by_one_of_them_again(
    start_redis: Callable[..., RedisServer], swap: Callable[[Pair], None]
) -> None:
    platform = FakePlatform()
    for id_ in IDS:
        platform.knows(id_, state="send")
    async with pair(start_redis) as both, watching(platform, 3, cache_url=both.url):
        swap(both)
        async with asyncio.timeout(SHARING_AGAIN):
            while await watched(platform, 5) > 6:
                pass


@asynccontextmanager
async def replicas(url: str, prefix: str) -> AsyncIterator[list[Replica]]:
    """Two replicas that listen."""
    both = [Replica(url, prefix) for _ in range(2)]
    for each in both:
        await each.store.connect()
        each.broadcast.start()
    yield both
    for each in both:
        await each.broadcast.aclose()
        await each.store.aclose()


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
async def test_who_waits_hears_of_changes_again(
    start_redis: Callable[..., RedisServer], swap: Callable[[Pair], None]
) -> None:
    async with pair(start_redis) as both, replicas(both.url, own_prefix()) as (one, other):
        await listeners(both.primary, 2)
        swap(both)
        async with asyncio.timeout(SHARING_AGAIN):
            for id_ in itertools.count(100):
                on_the_new_one = both.replica.ask("CLIENT", "LIST", "TYPE", "pubsub").count(b" addr=") == 2
                if on_the_new_one and any(heard >= 100 for heard, _ in other.heard):
                    break
                other.heard.clear()
                for each in (one, other):
                    await each.store.write({id_: LIFETIMES.cached(READ, now := time.monotonic(), now)})
                one.publishes(id_, READ)
                await asyncio.sleep(0.02)


async def test_an_address_that_leads_elsewhere_is_noticed_although_the_old_server_still_answers(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "CONNECTION_LIFE", 0.2)
    async with pair(start_redis) as both:
        async with (
            service(platform, cache_url=both.url, cache_prefix=own_prefix()) as client,
            under_load(client) as load,
        ):
            await load.until(both.replica.all_keys)
            both.promote()
            both.move_address()
            before = set(both.replica.all_keys())
            await load.until(lambda: set(both.replica.all_keys()) - before)
            async with asyncio.timeout(20):
                await listeners(both.replica, 1)
        assert both.primary.ask("CLIENT", "LIST", "TYPE", "pubsub").count(b" addr=") == 0


async def test_what_a_demoted_server_did_not_take_is_written_to_the_new_primary(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    async with pair(start_redis) as both:
        settings: dict[str, Any] = {"cache_url": both.url, "cache_prefix": own_prefix()}
        async with service(platform, **settings) as one, service(platform, **settings) as other:
            both.promote()
            both.demote()
            ids = list(range(1, 101))
            await one.post("/messages/states", json={"ids": ids})
            async with asyncio.timeout(20):
                while not said(caplog):
                    await one.get(f"/messages/{len(platform.requests) + 1000}/state")
            both.move_address()
            async with asyncio.timeout(SHARING_AGAIN):
                while len(both.replica.all_keys()) < len(ids):
                    await asyncio.sleep(0.02)
            before = len(platform.requests)
            await other.post("/messages/states", json={"ids": ids})
            assert len(platform.requests) == before
    assert said(caplog) == ["Redis rejects writes", "Redis accepts writes again"]
