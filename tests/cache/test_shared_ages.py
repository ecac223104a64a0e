"""How long a state has lasted is shared by replicas as an age, beside what version 0.1 reads and writes."""

from collections.abc import Callable

import pytest

from app.lookup.cache.redis import RedisStore
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.failures import EntryRefused, MessageNotFound
from app.lookup.lifetimes import Cached, Lifetimes
from app.lookup.record import Cacheable, MessageRecord
from tests.cache import version_0_1
from tests.cache.caches import PLATFORM, Clock, own_prefix, shared
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio

LIFETIMES = Lifetimes(20, 600, 86_400, 20, 600, 3600, wall_clock=lambda: 0.0)
SEND = MessageRecord(1, "send")
TIMELESS: list[Cacheable] = [
    SEND,
    MessageRecord(1, "send", None, 1, "10.6", detailed=True),
    MessageRecord(1, "a-new_word"),
    MessageRecord(1, "deliver"),
    MessageNotFound("a text says so", upstream_message="Сообщение | нет"),
    MessageNotFound("left out"),
    EntryRefused("a text", upstream_message="No."),
]


def key_of(prefix: str, id_: int = 1) -> str:
    """Where a message is."""
    return f"{RedisStore('redis://127.0.0.1:1', prefix, PLATFORM, Clock(), LIFETIMES)._keys}{id_}"


def value(server: RedisServer, key: str) -> bytes:
    """What is there."""
    return server.ask("GET", key).partition(b"\r\n")[2].removesuffix(b"\r\n")


def age(server: RedisServer, key: str, seconds: float) -> None:
    """Let time pass on the server: every key of the message has less of it left."""
    for each in (key, f"{key}:seen"):
        left = int(server.ask("PTTL", each)[1:])
        if left > 0:
            server.ask("PEXPIRE", each, str(left - int(seconds * 1000)))


async def seen_after(cache: TwoLevelCache, clock: Clock, answer: Cacheable, seconds: float) -> Cached:
    """One replica is answered the same, so many seconds later."""
    cache.put(1, answer)
    clock.now += seconds
    kept = cache.put(1, answer)
    await cache.flush()
    return kept


@pytest.mark.parametrize("answer", TIMELESS)
async def test_a_replica_that_knows_nothing_takes_over_the_age_of_a_state(
    shared_redis: RedisServer, answer: Cacheable
) -> None:
    prefix, clock, others_clock = own_prefix(), Clock(), Clock(9.0)
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    theirs, store = await shared(shared_redis.url, prefix, others_clock, LIFETIMES)
    kept = await seen_after(ours, clock, answer, 500)
    (told,) = (await theirs.get_many([1])).values()
    assert told.ttl == pytest.approx(kept.ttl, abs=1)
    assert told.replied_at - told.since == pytest.approx(500, abs=0.1)
    assert not store.errors
    for each in (ours, theirs):
        await each.aclose()


async def test_beyond_its_end_an_answer_is_not_served_and_tells_the_age_of_its_state(
    shared_redis: RedisServer,
) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    assert (await seen_after(ours, clock, SEND, 500)).ttl == 50
    key = key_of(prefix)
    for seconds, served in ((45, True), (10, False), (500, False)):
        age(shared_redis, key, seconds)
        theirs, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
        assert bool(await theirs.get_many([1])) is served
        kept = theirs.put(1, SEND)
        assert kept.replied_at - kept.since > 500
        theirs._unwritten.clear()
        await theirs.aclose()
    assert 0 < int(shared_redis.ask("PTTL", key)[1:]) <= 100_000
    await ours.aclose()


async def test_another_state_begins_anew_on_every_replica(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    await seen_after(ours, clock, SEND, 500)
    ours.put(1, MessageRecord(1, "a-new_word"))
    await ours.flush()
    theirs, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    (told,) = (await theirs.get_many([1])).values()
    assert told.ttl == 20
    for each in (ours, theirs):
        await each.aclose()


@pytest.mark.parametrize("answer", TIMELESS)
async def test_what_0_1_reads_is_as_old_as_it_is(shared_redis: RedisServer, answer: Cacheable) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    await seen_after(ours, clock, answer, 500)
    key = key_of(prefix)
    age(shared_redis, key, 15)
    there = value(shared_redis, key)
    assert bool(version_0_1.READABLE.fullmatch(there)) is not isinstance(answer, EntryRefused)
    assert int(there.split(b"|")[1]) - int(shared_redis.ask("PTTL", key)[1:]) == pytest.approx(15_000, abs=2000)
    await ours.aclose()


@pytest.mark.parametrize(("state", "lasted"), [("send", 500), ("deliver", 0)])
async def test_what_0_1_writes_over_a_state_keeps_its_age_while_it_is_the_same(
    shared_redis: RedisServer, state: str, lasted: float
) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    await seen_after(ours, clock, SEND, 500)
    there = f"v1{'p' if state == 'send' else 'd'}-|20000||||{state}"
    shared_redis.ask("EVAL", version_0_1.WRITE, "1", key_of(prefix), there, "20000")
    theirs, store = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    (told,) = (await theirs.get_many([1])).values()
    assert told.answer == MessageRecord(1, state)
    assert told.replied_at - told.since == pytest.approx(lasted, abs=1)
    assert not store.errors
    for each in (ours, theirs):
        await each.aclose()


async def test_what_is_too_old_for_this_replicas_settings_is_not_served(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, LIFETIMES)
    assert (await seen_after(ours, clock, SEND, 500)).ttl == 50
    age(shared_redis, key_of(prefix), 30)
    for lifetimes, served in ((LIFETIMES, True), (Lifetimes(20, 600, 86_400, 20), False)):
        theirs, _ = await shared(shared_redis.url, prefix, clock, lifetimes)
        assert bool(await theirs.get_many([1])) is served
        await theirs.aclose()
    await ours.aclose()


async def test_a_second_key_of_another_type_or_with_rubbish_is_ignored(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(redis.url, prefix, clock, LIFETIMES)
    seen = f"{key_of(prefix)}:seen"
    things = (("SET", seen, "x"), ("SET", seen, "99|p|other"), ("SET", seen, "-9|p|send"), ("HSET", seen, "a", "b"))
    for rubbish in things:
        await seen_after(ours, clock, SEND, 500)
        redis.ask("DEL", seen)
        redis.ask(*rubbish)
        theirs, store = await shared(redis.url, prefix, clock, LIFETIMES)
        (told,) = (await theirs.get_many([1])).values()
        assert (told.answer, told.ttl) == (SEND, 20)
        assert not store.errors
        await theirs.aclose()
    await ours.aclose()


async def test_a_final_state_and_one_without_growth_have_one_key(start_redis: Callable[..., RedisServer]) -> None:
    redis = start_redis()
    prefix, clock = own_prefix(), Clock()
    for lifetimes, answer in ((LIFETIMES, MessageRecord(1, "read")), (Lifetimes(20, 600, 86_400, 20), SEND)):
        cache, _ = await shared(redis.url, prefix, clock, lifetimes)
        cache.put(1, answer)
        await cache.flush()
        assert [key for key in redis.all_keys() if key.endswith(":seen")] == []
        await cache.aclose()
