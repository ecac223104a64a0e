"""Version 0.1 and this one on one Redis, as during a rollout: neither makes the other answer wrongly."""

import pytest

from app.lookup.cache.leases import Due, Leases
from app.lookup.cache.redis import RedisStore
from app.lookup.failures import EntryRefused, EntryRejected, MessageNotFound
from app.lookup.record import Cacheable, MessageRecord
from tests.cache import version_0_1
from tests.cache.caches import Clock, memory, own_prefix, shared
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio

SENTENCE = "Сообщение с таким ID не принималось"
READ = MessageRecord(1, "read", None, 1, "10.6", detailed=True)
TEXTS = [
    MessageNotFound("a text says so", upstream_message=SENTENCE),
    EntryRefused("a text", upstream_message="read"),
    EntryRejected("a text", upstream_message="No."),
]


async def written(server: RedisServer, prefix: str, answer: Cacheable) -> None:
    """This version has an answer to message 1."""
    cache, _ = await shared(server.url, prefix, Clock())
    cache.put(1, answer)
    await cache.aclose()


async def read(server: RedisServer, prefix: str) -> Cacheable | None:
    """What another replica of this version reads."""
    cache, store = await shared(server.url, prefix, Clock())
    found = await cache.get_many([1])
    await cache.aclose()
    assert store.errors["value"] == 0
    return found[1].answer if found else None


def key_of(prefix: str) -> str:
    """Where message 1 is."""
    store = RedisStore("redis://127.0.0.1:1", prefix, "http://platform.test/json/state.php", Clock(), None)  # type: ignore[arg-type]  # only the key is wanted
    return f"{store._keys}1"


def write_as_0_1(server: RedisServer, prefix: str, value: str) -> None:
    """What 0.1 does with an answer of its own."""
    server.ask("EVAL", version_0_1.WRITE, "1", key_of(prefix), value, "2000")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: type(text).__name__)
async def test_an_error_text_of_ours_is_an_unknown_id_or_a_miss_for_0_1_and_gives_way_to_its_states(
    shared_redis: RedisServer, text: Cacheable
) -> None:
    prefix = own_prefix()
    await written(shared_redis, prefix, text)
    value = shared_redis.ask("GET", key_of(prefix)).partition(b"\r\n")[2].removesuffix(b"\r\n")
    assert bool(version_0_1.READABLE.fullmatch(value)) is isinstance(text, MessageNotFound)

    write_as_0_1(shared_redis, prefix, "v1d-|60000||||deliver")
    assert await read(shared_redis, prefix) == MessageRecord(1, "deliver")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: type(text).__name__)
async def test_a_final_state_of_0_1_stays_whatever_text_comes_later(shared_redis: RedisServer, text: Cacheable) -> None:
    prefix = own_prefix()
    write_as_0_1(shared_redis, prefix, "v1f+|86400000||1|10.6|read")
    await written(shared_redis, prefix, text)
    assert await read(shared_redis, prefix) == READ


@pytest.mark.parametrize("state", [SENTENCE, "DELIVRD", " deliver", "Read"])
async def test_what_0_1_took_for_a_state_is_asked_for_again(shared_redis: RedisServer, state: str) -> None:
    prefix = own_prefix()
    write_as_0_1(shared_redis, prefix, f"v1p+|2000||1|10.6|{state}")
    assert await read(shared_redis, prefix) is None

    await written(shared_redis, prefix, MessageNotFound("a text says so", upstream_message=SENTENCE))
    assert isinstance(await read(shared_redis, prefix), MessageNotFound)


async def test_0_1_takes_no_notice_of_leases_and_its_answers_are_heard_by_those_who_hold_none(
    shared_redis: RedisServer,
) -> None:
    prefix = own_prefix()
    due = {1: Due(0.0, 2.0)}
    holder, other = [Leases((await shared(shared_redis.url, prefix, Clock()))[1], memory(Clock())) for _ in range(2)]
    assert await holder.take(due) == ({}, {1})

    write_as_0_1(shared_redis, prefix, "v1p+|2000||1|10.6|send")
    heard, mine = await other.take(due)
    assert heard[1].answer == MessageRecord(1, "send", None, 1, "10.6", detailed=True)
    assert mine == set()
    assert (await holder.take(due))[1] == {1}

    # It reads, and writes, one key of a message: the others have names that no number has.
    own = {key for key in shared_redis.all_keys() if key.startswith(prefix)}
    assert own == {key_of(prefix), f"{key_of(prefix)}:lease"}
    for each in (holder, other):
        await each._store.aclose()  # type: ignore[attr-defined]  # a Redis
