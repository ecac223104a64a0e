"""Whatever happens to Redis, no lookup fails, the log says it once, and it is taken up again."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from app.lookup.cache.store_health import Health
from tests.cache.caches import own_prefix
from tests.support.platform import FakePlatform, Received
from tests.support.redis_server import RedisServer, pretender
from tests.support.scraping import scrape
from tests.support.service import service

pytestmark = pytest.mark.anyio

CALLERS = 4
ROUND_TRIPS = "cache_request_duration_seconds_count"
IN_BACKGROUND = ("write", "publish", "lease")


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a lost server often, so that a test need not wait."""
    monkeypatch.setattr(Health, "PAUSE", 0.05)


@pytest.fixture
def platform() -> FakePlatform:
    """A platform that knows every id: as read where it ends in 2, else as delivered."""
    fake = FakePlatform()

    async def know(request: Received) -> None:
        for id_ in request.ids:
            fake.knows(id_, state="read" if id_ % 10 == 2 else "deliver")

    fake.before = know
    return fake


class Load:
    """Callers that ask for ids that nobody has asked for yet, one after the other, until they are told to stop."""

    def __init__(self, client: httpx.AsyncClient, ids: Iterator[int]) -> None:
        self._client = client
        self._ids = ids
        self.statuses: list[int] = []
        self._stopped = False

    async def more(self, number: int) -> None:
        """Wait for this many more answers."""
        wanted = len(self.statuses) + number
        while len(self.statuses) < wanted:
            await asyncio.sleep(0.002)

    async def until(self, condition: Callable[[], object]) -> None:
        """Go on until something is so."""
        async with asyncio.timeout(20):
            while not condition():
                await self.more(1)

    async def call(self) -> None:
        while not self._stopped:
            reply = await self._client.get(f"/messages/{next(self._ids)}/state")
            self.statuses.append(reply.status_code)

    def stop(self) -> None:
        self._stopped = True


@asynccontextmanager
async def under_load(client: httpx.AsyncClient, first: int = 1000) -> AsyncIterator[Load]:
    """Load for as long as the block takes; at its end every lookup must have been answered."""
    load = Load(client, iter(range(first, 10_000_000)))
    callers = [asyncio.create_task(load.call()) for _ in range(CALLERS)]
    try:
        yield load
    finally:
        load.stop()
        await asyncio.gather(*callers)
    assert set(load.statuses) == {200}
    assert (await client.get("/readyz")).status_code == 200


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of Redis, without the reasons."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("app.lookup.cache")]
    return [line.partition(":")[0].partition(" (")[0] for line in lines]


LOST, FOUND = "Redis cannot be used", "Redis is used again"
FULL, TAKES = "Redis rejects writes", "Redis accepts writes again"


def own(redis: RedisServer) -> dict[str, Any]:
    """Settings for a server that other tests use as well."""
    return {"cache_url": redis.url, "cache_prefix": own_prefix()}


def evicted(redis: RedisServer) -> int:
    """How many keys a full server has let go."""
    return int(redis.ask("INFO", "stats").partition(b"evicted_keys:")[2].partition(b"\r")[0])


async def asked_anew(client: httpx.AsyncClient, ids: list[int]) -> None:
    """Look ids up in one request."""
    reply = await client.post("/messages/states", json={"ids": ids})
    assert reply.status_code == 200
    assert len(reply.json()["states"]) == len(ids)


async def test_a_second_service_knows_what_the_first_was_told(
    platform: FakePlatform, shared_redis: RedisServer
) -> None:
    settings = own(shared_redis)
    ids = list(range(12, 4012, 10))
    async with service(platform, **settings) as first:
        await asked_anew(first, ids)
    before = len(platform.requests)
    async with service(platform, **settings) as second:
        await asked_anew(second, ids)
        reply = await second.get("/messages/12/state")
    assert len(platform.requests) == before
    assert reply.headers["cache-status"] == "message-state; hit"


async def test_detail_that_another_replica_has_costs_nothing(platform: FakePlatform, shared_redis: RedisServer) -> None:
    settings = own(shared_redis)
    async with service(platform, **settings) as first, service(platform, **settings) as second:
        await second.get("/messages/12/state")
        await first.get("/messages/12/state?detail=true")
        before = len(platform.requests)

        async def known() -> bool:
            reply = await second.get("/messages/12/state?detail=true")
            return bool(reply.json()["price_per_part"] == "10.6")

        assert await known()
    assert len(platform.requests) <= before + 1  # unless the write was still on its way


async def test_two_platforms_never_mix(platform: FakePlatform, shared_redis: RedisServer) -> None:
    settings = own(shared_redis)
    async with service(platform, **settings) as client:
        await asked_anew(client, [12])
    async with service(**settings) as sandbox:
        reply = await sandbox.get("/messages/12/state")
    assert reply.headers["cache-status"] == "message-state; fwd=miss"


async def test_stopped_in_the_middle_and_started_again_empty(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis()
    async with service(platform, cache_url=redis.url) as client, under_load(client) as load:
        await load.until(redis.all_keys)
        redis.stop()
        await load.until(lambda: LOST in said(caplog))
        await load.more(50)
        redis.start()
        await load.until(redis.all_keys)
    assert said(caplog) == [LOST, FOUND]


@pytest.mark.usefixtures("the_real_limit")
async def test_paused_in_the_middle_it_is_waited_for_once_and_lookups_go_on_without_it(
    platform: FakePlatform,
    start_redis: Callable[..., RedisServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis()
    async with service(platform, cache_url=redis.url) as client, under_load(client) as load:
        await load.until(redis.all_keys)
        redis.pause()
        await load.until(lambda: LOST in said(caplog))
        await load.more(200)
        # How long a wait is, nobody can say of a busy machine: `python -m bench paused-redis` measures.
        waits = scrape(client)
        redis.resume()
        await load.until(lambda: FOUND in said(caplog))
    timeouts = {each: waits.value(ROUND_TRIPS, operation=each, outcome="timeout") for each in ("read", *IN_BACKGROUND)}
    # One of each at most, and a few by chance on a busy machine.
    assert 1 <= sum(timeouts.values()) < 20
    assert said(caplog) == [LOST, FOUND]


async def test_full_without_eviction_it_is_still_read(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis()
    async with service(platform, cache_url=redis.url) as first:
        await asked_anew(first, [12, 22, 32])
    redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.ask("CONFIG", "SET", "maxmemory", "1000")
    async with service(platform, cache_url=redis.url) as client:
        before = len(platform.requests)
        await asked_anew(client, [12, 22])
        assert len(platform.requests) == before
        async with under_load(client) as load:
            await load.until(lambda: FULL in said(caplog))
            await load.more(50)
            before = len(platform.requests)
            redis.ask("CONFIG", "SET", "maxmemory", "0")
            await load.until(lambda: TAKES in said(caplog))
        assert (await client.get("/messages/32/state")).headers["cache-status"] == "message-state; hit"
    assert said(caplog) == [FULL, TAKES]


async def test_full_with_eviction_it_is_used_as_ever(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru")
    for number in range(300):
        redis.ask("SET", f"of-somebody-else-{number}", b"x" * 10_000)
    async with service(platform, cache_url=redis.url) as client:
        before = evicted(redis)
        await asked_anew(client, list(range(1000, 2000)))
    assert evicted(redis) > before
    assert LOST not in said(caplog)
    assert FULL not in said(caplog)


async def test_a_read_only_server_is_still_read(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis()
    async with service(platform, cache_url=redis.url) as client:
        await asked_anew(client, [12])
    redis.ask("REPLICAOF", "127.0.0.1", "1")
    async with service(platform, cache_url=redis.url) as client:
        assert (await client.get("/messages/12/state")).headers["cache-status"] == "message-state; hit"
        async with under_load(client) as load:
            await load.until(lambda: FULL in said(caplog))
            redis.ask("REPLICAOF", "NO", "ONE")
            await load.until(lambda: TAKES in said(caplog))
    assert said(caplog) == [FULL, TAKES]


async def test_its_connection_limit_reached(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "app")
    redis = start_redis("--maxclients", "5")
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(socket.create_connection(("127.0.0.1", redis.port)))
        async with service(platform, cache_url=redis.url) as client, under_load(client) as load:
            assert said(caplog) == [LOST]
            await load.more(50)
            stack.close()
            await load.until(lambda: FOUND in said(caplog))
    assert said(caplog) == [LOST, FOUND]


async def test_a_wrong_password_is_told_once_and_shown_nowhere(
    platform: FakePlatform, start_redis: Callable[..., RedisServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    redis = start_redis("--requirepass", "the right one")
    url = redis.url.replace("127.0.0.1", "somebody:pl%40nted@127.0.0.1")
    async with service(platform, cache_url=url) as client, under_load(client) as load:
        await load.more(100)
    # On a busy machine the refusal may be met in the middle of the handshake, and is then called a protocol error.
    assert said(caplog) == [LOST]
    assert "(authentication, " in caplog.text or "(protocol, " in caplog.text
    assert "nted" not in caplog.text


@pytest.mark.parametrize(
    ("reply", "endless"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"$-5\r\n", False),
        (b"\x00\xff\xfe\x01\r\n", False),
        (b":1\r\n", False),
        (b"*3\r\n$1\r\nx\r\n:1\r\n*0\r\n", False),
        (b"+OK\r\n", True),
        (b"*1000000000\r\n", False),
        (b"-ERR unknown command 'EVALSHA'\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.usefixtures("the_real_limit")
async def test_what_is_no_redis_harms_nobody(platform: FakePlatform, reply: bytes, endless: bool) -> None:
    async with (
        pretender(reply, endless=endless) as url,
        service(platform, cache_url=url) as client,
        under_load(client) as load,
    ):
        await load.more(60)


async def test_rubbish_under_our_keys_is_a_miss_and_gives_way(
    platform: FakePlatform, shared_redis: RedisServer
) -> None:
    settings = own(shared_redis)
    ids = [12, 22, 32, 42, 52]
    async with service(platform, **settings) as client:
        await asked_anew(client, ids)
    keys = sorted(key for key in shared_redis.all_keys() if key.startswith(settings["cache_prefix"]))
    rubbish = [b"\xff\xfe", b"v1f+|x|||", b"v1f+|9||||read", b"read"]
    for key, value in zip(keys, rubbish, strict=False):
        shared_redis.ask("SET", key, value, "PX", "60000")
    shared_redis.ask("DEL", keys[-1])
    shared_redis.ask("LPUSH", keys[-1], "a list")
    async with service(platform, **settings) as client:
        await asked_anew(client, ids)
    before = len(platform.requests)
    async with service(platform, **settings) as client:
        await asked_anew(client, ids)
    assert len(platform.requests) == before


async def test_a_final_state_of_a_newer_version_is_not_overwritten(
    platform: FakePlatform, shared_redis: RedisServer
) -> None:
    settings = own(shared_redis)
    async with service(platform, **settings) as client:
        await asked_anew(client, [12])
    (key,) = (key for key in shared_redis.all_keys() if key.startswith(settings["cache_prefix"]))
    shared_redis.ask("SET", key, "v2f what a later version writes", "PX", "60000")
    async with service(platform, **settings) as client:
        await asked_anew(client, [12])
    assert b"v2f" in shared_redis.ask("GET", key)
