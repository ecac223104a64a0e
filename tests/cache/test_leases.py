"""What several replicas watch is asked for by one of them, and whatever hinders that costs the saving alone."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.lookup import watcher
from app.lookup.cache.leases import Due, Leases
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.record import MessageRecord
from app.lookup.waiter import Source
from app.service import Service
from tests.cache.caches import LIFETIMES, Clock, memory, own_prefix, shared
from tests.cache.test_troubled_redis import said
from tests.support.platform import FakePlatform, Received
from tests.support.redis_server import RedisServer
from tests.support.scale import scaled
from tests.support.scraping import Scrape
from tests.support.service import service, service_behind

pytestmark = pytest.mark.anyio

IDS = range(1, 51)
TTL = 0.4
CYCLES = 10
CACHING = Path(__file__).parents[2] / "docs/caching.md"
DOCUMENTED_ACL = re.search(
    r"`ACL SETUSER states on >password ~message-state:\* &message-state:\* (.*)`", CACHING.read_text()
)
assert DOCUMENTED_ACL is not None
RIGHTS = DOCUMENTED_ACL[1].split()
DUE = Due(0.0, 2.0)


async def leases(redis: RedisServer, prefix: str, clock: Clock | None = None) -> Leases:
    """A replica's leases."""
    clock = clock or Clock()
    _, store = await shared(redis.url, prefix, clock)
    return Leases(store, memory(clock))


async def test_a_lease_has_one_holder_until_it_is_released_or_runs_out(shared_redis: RedisServer) -> None:
    prefix = own_prefix()
    one, other = [await leases(shared_redis, prefix) for _ in range(2)]
    assert (await one.take({1: DUE, 2: DUE}))[1] == {1, 2}
    assert (await other.take({1: DUE, 2: DUE, 3: DUE}))[1] == {3}
    assert (await one.take({1: DUE, 2: DUE}))[1] == {1, 2}
    await one.release([1, 3])
    await asyncio.sleep(0.01)
    assert (await other.take({1: DUE, 2: DUE}))[1] == {1}
    for key in shared_redis.all_keys():
        if key.startswith(prefix) and key.endswith("2:lease"):
            assert 0 < int(shared_redis.ask("PTTL", key)[1:]) <= 2000
            shared_redis.ask("DEL", key)
    assert (await other.take({2: DUE}))[1] == {2}
    assert other.held == {1, 2, 3}
    for each in (one, other):
        await each._store.aclose()  # type: ignore[attr-defined]  # a Redis


async def test_who_has_lost_a_lease_does_not_end_that_of_the_next_holder(shared_redis: RedisServer) -> None:
    prefix = own_prefix()
    late, following, third = [await leases(shared_redis, prefix) for _ in range(3)]
    assert (await late.take({1: DUE}))[1] == {1}
    (key,) = (key for key in shared_redis.all_keys() if key.startswith(prefix))
    shared_redis.ask("DEL", key)  # as if it had run out
    assert (await following.take({1: Due(0.0, 60.0)}))[1] == {1}
    await late.release([1])
    await asyncio.sleep(0.01)
    assert (await third.take({1: DUE}))[1] == set()
    for each in (late, following, third):
        await each._store.aclose()  # type: ignore[attr-defined]  # a Redis


@pytest.mark.parametrize("seconds_ahead", [-1e6, 1e6])
async def test_replicas_whose_clocks_differ_agree_on_holders_and_on_the_age_of_what_they_hear(
    shared_redis: RedisServer, seconds_ahead: float
) -> None:
    prefix, clock, other_clock = own_prefix(), Clock(2e6), Clock(2e6 + seconds_ahead)
    one, other = await leases(shared_redis, prefix, clock), await leases(shared_redis, prefix, other_clock)
    assert await one.take({1: DUE}) == ({}, {1})
    assert await other.take({1: DUE}) == ({}, set())
    await one._store.write({1: LIFETIMES.cached(MessageRecord(1, "send"), clock(), clock())})  # type: ignore[attr-defined]  # a Redis
    heard, mine = await other.take({1: DUE})
    assert heard[1].replied_at == pytest.approx(other_clock(), abs=1)
    assert mine == set()
    for each in (one, other):
        await each._store.aclose()  # type: ignore[attr-defined]  # a Redis


@asynccontextmanager
async def replicas(platform: FakePlatform, number: int, **settings: Any) -> AsyncIterator[list[Service]]:
    """Replicas on which the same messages are watched, one of them a little later than the one before."""
    async with AsyncExitStack() as stack:
        own: dict[str, Any] = {"cache_prefix": own_prefix(), "pending_ttl": TTL, "pending_ttl_max": TTL} | settings
        clients = [await stack.enter_async_context(service(platform, **own)) for _ in range(number)]
        services = [service_behind(client) for client in clients]
        for each in services:
            stack.enter_context(each.watcher.subscribe(IDS, False))
            await each.watcher.look_up(IDS, False)
            await asyncio.sleep(TTL / 7)
        yield services


@pytest.fixture
def platform() -> FakePlatform:
    """A platform on which the messages stay on their way."""
    fake = FakePlatform()
    for id_ in IDS:
        fake.knows(id_, state="send")
    return fake


def entries(platform: FakePlatform) -> int:
    return sum(len(request.ids) for request in platform.requests)


async def watched(platform: FakePlatform, cycles: int) -> float:
    """How often each message is asked for in so many cycles."""
    before = entries(platform)
    await asyncio.sleep(cycles * TTL)
    return (entries(platform) - before) / len(IDS)


async def test_three_replicas_that_watch_the_same_messages_ask_like_one(
    platform: FakePlatform, shared_redis: RedisServer
) -> None:
    async with replicas(platform, 3, cache_url=shared_redis.url) as services:
        assert CYCLES * 0.7 <= await watched(platform, CYCLES) <= CYCLES * 1.1
        assert sum(each.leases.saved for each in services if each.leases) >= CYCLES * len(IDS)


@pytest.mark.parametrize("path", ["/messages/states/events?id=1", "/messages/1/state?wait=1"])
async def test_a_stream_or_wait_that_begins_on_three_replicas_at_the_same_moment_costs_one_entry(
    platform: FakePlatform, shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(watcher, "FIRST_ANSWER", 5.0)  # for a busy machine
    platform.knows(1, state="read")

    async def take_time(_: Received) -> None:
        await asyncio.sleep(0.1)

    platform.before = take_time
    prefix = own_prefix()
    async with AsyncExitStack() as stack:
        settings: dict[str, Any] = {"cache_url": shared_redis.url, "cache_prefix": prefix}
        clients = [await stack.enter_async_context(service(platform, **settings)) for _ in range(3)]
        answers = await asyncio.gather(*(client.get(path) for client in clients))
        assert all('"state":"read"' in answer.text for answer in answers)
        assert entries(platform) == 1


async def test_when_the_replica_that_asks_is_gone_another_one_does(
    platform: FakePlatform, shared_redis: RedisServer
) -> None:
    async with replicas(platform, 2, cache_url=shared_redis.url) as (one, other):
        await asyncio.sleep(2 * TTL)
        one.watcher.stop()
        started = time.monotonic()
        platform.knows(1, state="read")
        while (answer := other.watcher.snapshot(1).answer) is None or getattr(answer, "state", None) != "read":
            await asyncio.sleep(0.01)
            assert time.monotonic() - started < 2 * TTL + 1
        assert one.leases is not None
        assert not one.leases.held


async def test_with_exactly_the_documented_rights_leases_are_taken(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    prefix = own_prefix()
    redis.ask("ACL", "SETUSER", "states", "on", ">secret", f"~{prefix}:*", f"&{prefix}:*", *RIGHTS)
    url = redis.url.replace("127.0.0.1", "states:secret@127.0.0.1")
    async with replicas(platform, 3, cache_url=url, cache_prefix=prefix) as services:
        assert await watched(platform, 5) <= 6
        for each in services:
            assert each.leases is not None
            assert each.store is not None
            await each.leases.release(IDS)
            assert not each.store.errors
    assert said(caplog) == []


async def test_an_acl_that_refuses_leases_costs_the_saving_one_line_in_the_log_and_nothing_else(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    redis, cycles = start_redis(), scaled(3, 1) * CYCLES
    prefix = own_prefix()
    # Values, what was first seen and updates, but not the keys that end in ":lease".
    keys = [f"~{prefix}:*[0-9]", f"~{prefix}:*:seen", f"~{prefix}:*:news"]
    redis.ask("ACL", "SETUSER", "states", "on", ">secret", *keys, f"&{prefix}:*", *RIGHTS)
    url = redis.url.replace("127.0.0.1", "states:secret@127.0.0.1")
    async with replicas(platform, 1, cache_url=url, cache_prefix=prefix) as (one,):
        assert await watched(platform, cycles) >= cycles * 0.6
        assert said(caplog) == ["Redis rejects leases"]
        assert one.leases is not None
        assert not one.leases.held
        assert one.store is not None
        assert one.store.usable
        # After five in a row it is tried every two seconds, and not in every cycle.
        assert 5 <= one.store.errors["refused"] <= 2 * CYCLES
        # Answers are shared as before.
        platform.knows(999, state="read")
        await one.engine.lookup([999], False)
        assert isinstance(one.cache, TwoLevelCache)
        await one.cache.flush()
        async with replicas(platform, 1, cache_url=url, cache_prefix=prefix) as (other,):
            assert (await other.engine.lookup([999], False))[999].source is Source.CACHE
    assert said(caplog) == ["Redis rejects leases"]


async def test_entries_that_leases_save_are_in_the_metrics(platform: FakePlatform, shared_redis: RedisServer) -> None:
    async with replicas(platform, 2, cache_url=shared_redis.url) as both:
        await asyncio.sleep(3 * TTL)
        saved = [Scrape.of(each.metrics.registry).value("saved_entries_total", by="leases") for each in both]
        assert sum(saved) >= len(IDS)


async def test_without_redis_or_the_right_to_it_each_replica_asks_for_what_is_watched_on_it(
    platform: FakePlatform, start_redis: Callable[..., RedisServer]
) -> None:
    redis = start_redis()
    async with replicas(platform, 2, cache_url=redis.url):
        redis.stop()
        assert await watched(platform, 6) >= 8
