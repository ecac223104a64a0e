"""Who waits on one replica hears what another one learned, and Redis in trouble costs no more than that."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from app.lookup.cache import redis as redis_module
from app.lookup.cache.broadcast import Broadcast
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.redis import RedisStore
from app.lookup.cache.store_health import Health
from app.lookup.failures import MessageNotFound
from app.lookup.lifetimes import Cached, Update
from app.lookup.record import Answer, MessageRecord
from tests.cache.caches import LIFETIMES, PLATFORM, own_prefix
from tests.support.platform import FakePlatform
from tests.support.redis_server import RedisServer, pretender
from tests.support.service import service

pytestmark = pytest.mark.anyio

WEBHOOK_TOKEN = "0123456789abcdef"
SENT, DELIVERED, READ = (MessageRecord(1, state) for state in ("send", "deliver", "read"))


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a lost server often, so that a test need not wait."""
    monkeypatch.setattr(Health, "PAUSE", 0.05)


def answer_of(update: Update) -> Answer:
    """What those who wait are told."""
    return update.answer if isinstance(update, Cached) else update


class Replica:
    """What a replica knows of changes: its memory, and what those who wait on it received."""

    def __init__(self, url: str, prefix: str) -> None:
        clock = time.monotonic
        self.heard: list[tuple[int, Answer]] = []
        self.memory = MemoryCache(clock, LIFETIMES, max_entries=1000)
        self.observed: list[tuple[str, float, str]] = []
        self.store = RedisStore(
            url, prefix, PLATFORM, clock, LIFETIMES, observe=lambda *each: self.observed.append(each)
        )
        self.broadcast = Broadcast(
            self.store, self.memory, clock, LIFETIMES, lambda id_, update: self.heard.append((id_, answer_of(update)))
        )

    def learn(self, answer: MessageRecord | MessageNotFound) -> None:
        """The platform answers."""
        self.broadcast.publish(1, self.memory.put(1, answer))

    def publishes(self, id_: int, answer: MessageRecord) -> None:
        """It tells the others, whatever it knows."""
        now = time.monotonic()
        self.broadcast.publish(id_, LIFETIMES.cached(answer, now, now))

    async def hears(self, answer: Answer) -> None:
        """Wait until it has heard this."""
        async with asyncio.timeout(20):
            while (1, answer) not in self.heard:
                await asyncio.sleep(0.005)


async def listeners(redis: RedisServer, number: int) -> None:
    """Wait until so many listen, to whatever."""
    async with asyncio.timeout(20):
        while redis.ask("CLIENT", "LIST", "TYPE", "pubsub").count(b" addr=") - number:
            await asyncio.sleep(0.005)


async def told_again(one: Replica, other: Replica) -> None:
    """Tell something new every now and then until it is heard: some is lost while either looks for the server."""
    async with asyncio.timeout(20):
        for id_ in itertools.count(100):
            if any(heard >= 100 for heard, _ in other.heard):
                return
            one.publishes(id_, DELIVERED)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def replicas(redis: RedisServer, number: int = 2) -> AsyncIterator[list[Replica]]:
    """Replicas that listen."""
    prefix = own_prefix()
    async with AsyncExitStack() as stack:
        members = [Replica(redis.url, prefix) for _ in range(number)]
        for each in members:
            await each.store.connect()
            each.broadcast.start()
            stack.push_async_callback(each.store.aclose)
            stack.push_async_callback(each.broadcast.aclose)
        await listeners(redis, number)
        yield members


async def test_what_one_learns_the_others_have_and_hear(shared_redis: RedisServer) -> None:
    async with replicas(shared_redis, 3) as (one, *others):
        one.learn(DELIVERED)
        for other in others:
            await other.hears(DELIVERED)
            known = other.memory.get(1)
            assert known is not None
            assert known.answer == DELIVERED
        assert one.heard == [(1, DELIVERED)]


async def test_only_changes_are_told_and_what_was_heard_is_not_told_again(shared_redis: RedisServer) -> None:
    async with replicas(shared_redis) as (one, other):
        one.learn(SENT)
        await other.hears(SENT)
        one.learn(SENT)
        other.learn(SENT)
        one.learn(MessageNotFound("unknown"))
        one.learn(MessageRecord(1, "send", None, 2, "1.5", detailed=True))
        await other.hears(MessageRecord(1, "send", None, 2, "1.5", detailed=True))
        other.learn(READ)
        await one.hears(READ)
    heard_by_one = [answer for _, answer in one.heard if not isinstance(answer, MessageNotFound)]
    assert [answer.state for answer in heard_by_one if isinstance(answer, MessageRecord)].count("send") == 3
    assert len(other.heard) == 4  # two of them its own


async def test_news_that_was_overtaken_takes_nothing_back(shared_redis: RedisServer) -> None:
    async with replicas(shared_redis) as (one, other):
        other.memory.put(1, READ)
        one.learn(SENT)
        one.publishes(2, MessageRecord(2, "deliver"))
        async with asyncio.timeout(20):
            while not other.heard:
                await asyncio.sleep(0.005)
        known = other.memory.get(1)
        assert known is not None
        assert known.answer == READ
        assert [id_ for id_, _ in other.heard] == [2]


@pytest.mark.parametrize("rubbish", [b"", b"x", b"x 1", b"x one 5 v1f-|5||||read", b"x 1 5 v2f-|?", b"\xff \xff \xff"])
async def test_what_cannot_be_read_is_left_out_and_counted(shared_redis: RedisServer, rubbish: bytes) -> None:
    async with replicas(shared_redis) as (one, other):
        await one.store.publish([rubbish])
        one.learn(READ)
        await other.hears(READ)
        assert [each for each in other.observed if each[2] != "ok"] == [("listen", 0.0, "value")]


async def test_it_listens_again_after_a_restart_and_the_log_is_quiet(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    async with replicas(redis) as (one, other):
        redis.stop()
        one.learn(SENT)
        await asyncio.sleep(0.3)
        redis.start()
        await told_again(one, other)
    assert len(caplog.records) <= 4


async def test_a_silent_connection_is_replaced(
    start_redis: Callable[..., RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_module, "SILENCE", 0.1)
    redis = start_redis()
    async with replicas(redis) as (one, other):
        await asyncio.sleep(0.5)
        assert not other.store.errors, "a server that answers a ping is not silent"
        redis.pause()
        async with asyncio.timeout(20):
            while not other.store.errors["timeout"]:
                await asyncio.sleep(0.01)
        redis.resume()
        monkeypatch.setattr(redis_module, "SILENCE", 5)
        await told_again(one, other)


async def test_without_the_right_to_news_lookups_still_share_and_the_log_says_it_once(
    start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    redis = start_redis()
    redis.ask("ACL", "SETUSER", "default", "resetchannels", "-publish")
    caplog.set_level(logging.INFO, "app")
    replica = Replica(redis.url, own_prefix())
    await replica.store.connect()
    replica.broadcast.start()
    for state in ("send", "partly_deliver", "deliver", "read", "send", "deliver", "read") * 2:
        replica.publishes(1, MessageRecord(1, state))
        await asyncio.sleep(0.03)
    assert replica.store.usable
    assert replica.store.errors.keys() == {"refused"}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "Redis refuses the subscription",
        "Redis rejects updates",
    ]
    await replica.broadcast.aclose()
    await replica.store.aclose()


@pytest.mark.parametrize("endless", [False, True])
async def test_what_is_no_redis_is_left_alone(endless: bool) -> None:
    async with pretender(b"+OK\r\n", endless=endless) as url:
        replica = Replica(url, own_prefix())
        replica.broadcast.start()
        await asyncio.sleep(0.3)
        assert 1 <= replica.store.errors["protocol"] <= 6
        await replica.broadcast.aclose()


async def test_who_waits_on_one_service_is_woken_by_the_webhook_of_another(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    platform = FakePlatform()
    platform.knows(1, state="send")
    settings: dict[str, Any] = {
        "cache_url": redis.url,
        "cache_prefix": own_prefix(),
        "pending_ttl": 30.0,
        "webhook_token": WEBHOOK_TOKEN,
    }
    async with service(platform, **settings) as one, service(platform, **settings) as other:
        await listeners(redis, 2)
        waiting = asyncio.create_task(one.get("/messages/1/state", params={"wait": 20}))
        await asyncio.sleep(0.2)
        started = asyncio.get_running_loop().time()
        report = [{"id_sms": 1, "time": "2030-01-01 00:00:00", "state": "read"}]
        taken = await other.post(f"/webhooks/message-states/{WEBHOOK_TOKEN}", json=report)
        assert taken.status_code == 200
        assert (await waiting).json()["state"] == "read"
        assert asyncio.get_running_loop().time() - started < 5
