"""What counts after a new answer is one rule, in this process and on the server: both are given the same pairs."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.failures import EntryRefused, MessageNotFound
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import STATES, Cacheable, MessageRecord
from tests.cache.caches import Clock, memory, own_prefix, shared
from tests.support.redis_server import RedisServer

WHEN = datetime(2021, 4, 26, 15, 15, 3, tzinfo=UTC)
LONG = Lifetimes(600, 600, 86_400, 600)

DETAILS: list[tuple[int | None, str | None, bool]] = [
    (None, None, False),
    (1, "10.6", True),
    (2, "-0.50", True),
    (None, None, True),
]
RECORDS = [
    MessageRecord(1, state, when, parts, price, detailed=detailed)
    for state, when, (parts, price, detailed) in itertools.product(
        [*STATES, "delayed", "odd-word"], [None, WHEN], DETAILS
    )
]
ANSWERS: list[Cacheable] = [MessageNotFound("unknown"), EntryRefused("a text"), *RECORDS]


def of(id_: int, answer: Cacheable) -> Cacheable:
    """The same answer about another message."""
    if not isinstance(answer, MessageRecord):
        return answer
    return MessageRecord(
        id_, answer.state, answer.changed_at, answer.parts, answer.price_per_part, detailed=answer.detailed
    )


def is_final(answer: Cacheable) -> bool:
    """Whether the platform says that it never changes again."""
    return isinstance(answer, MessageRecord) and answer.meaning.final


def plain(answer: Cacheable) -> object:
    """An answer as a value: a failure is none by itself."""
    return answer if isinstance(answer, MessageRecord) else type(answer)


async def written(cache: TwoLevelCache) -> None:
    """Wait until everything is in Redis; on a busy machine a write may miss its time limit, and is made again."""
    for _ in range(100):
        await cache.flush()
        if not cache._unwritten:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("Redis takes no writes")


@pytest.mark.anyio
async def test_python_and_the_script_keep_the_same_of_any_two_answers(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    pairs = list(itertools.product([None, *ANSWERS], ANSWERS))
    prefix, clock = own_prefix(), Clock()
    first, second, newcomer = [(await shared(redis.url, prefix, clock, LONG))[0] for _ in range(3)]
    python = memory(clock, LONG)
    for id_, (old, _) in enumerate(pairs):
        if old is not None:
            first.put(id_, of(id_, old))
            python.put(id_, of(id_, old))
    await written(first)
    # A replica that knows nothing of the old answers writes all the new ones at once.
    for id_, (_, new) in enumerate(pairs):
        second.put(id_, of(id_, new))
        python.put(id_, of(id_, new))
    await written(second)
    for cache in (newcomer, second):
        found = await cache.get_many(range(len(pairs)))
        kept = {id_: plain(each.answer) for id_, each in found.items()}
        expected = {id_: plain(each.answer) for id_, each in (await python.get_many(range(len(pairs)))).items()}
        assert len(expected) == len(pairs)
        assert [pairs[id_] for id_ in expected if kept.get(id_) != expected[id_]] == []
    for each in (first, second, newcomer):
        await each.aclose()


@pytest.mark.anyio
async def test_python_and_the_script_keep_the_same_where_the_later_reply_is_written_first(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    # A final state stays in whatever order; which parts it then has may differ, at the cost of one more question.
    pairs = [pair for pair in itertools.product(ANSWERS, ANSWERS) if not any(map(is_final, pair))]
    prefix, clock, later = own_prefix(), Clock(1000.0), Clock(1030.0)
    late, _ = await shared(redis.url, prefix, clock, LONG)
    prompt, _ = await shared(redis.url, prefix, later, LONG)
    newcomer, _ = await shared(redis.url, prefix, later, LONG)
    python = memory(later, LONG)
    for id_, (replied_later, replied_first) in enumerate(pairs):
        prompt.put(id_, of(id_, replied_later))
        python.put(id_, of(id_, replied_later))
        python.adopt(id_, LONG.cached(of(id_, replied_first), 1000.0, 1000.0))
    await written(prompt)
    for id_, (_, replied_first) in enumerate(pairs):
        late.put(id_, of(id_, replied_first))
    clock.now = later.now  # none of them is written yet
    await written(late)
    found = await newcomer.get_many(range(len(pairs)))
    kept = {id_: plain(each.answer) for id_, each in found.items()}
    expected = {id_: plain(each.answer) for id_, each in (await python.get_many(range(len(pairs)))).items()}
    assert len(expected) == len(pairs)
    assert [pairs[id_] for id_ in expected if kept.get(id_) != expected[id_]] == []
    for each in (prompt, late, newcomer):
        await each.aclose()


@pytest.mark.anyio
async def test_a_final_state_that_is_given_its_parts_and_price_keeps_the_time_it_has_left(
    shared_redis: RedisServer,
) -> None:
    prefix, clock = own_prefix(), Clock()
    first, _ = await shared(shared_redis.url, prefix, clock)
    second, _ = await shared(shared_redis.url, prefix, clock)
    newcomer, _ = await shared(shared_redis.url, prefix, clock)
    first.put(1, MessageRecord(1, "read", WHEN))
    await written(first)
    (key,) = (key for key in shared_redis.all_keys() if key.startswith(prefix))
    shared_redis.ask("PEXPIRE", key, "40000000")
    second.put(1, MessageRecord(1, "deliver", WHEN, 2, "10.6", detailed=True))
    await written(second)
    assert 39_900_000 < int(shared_redis.ask("PTTL", key)[1:]) <= 40_000_000
    for cache in (newcomer, second):
        found = (await cache.get_many([1], True))[1]
        assert found.answer == MessageRecord(1, "read", WHEN, 2, "10.6", detailed=True)
        if cache is newcomer:
            assert clock() - found.replied_at == pytest.approx(86_400 - 40_000, abs=1)
    for each in (first, second, newcomer):
        await each.aclose()


@pytest.mark.anyio
async def test_a_later_answer_of_the_same_state_begins_its_time_anew(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    first, _ = await shared(shared_redis.url, prefix, clock)
    second, _ = await shared(shared_redis.url, prefix, clock)
    first.put(1, MessageRecord(1, "deliver", WHEN, 2, "10.6", detailed=True))
    await written(first)
    (key,) = (key for key in shared_redis.all_keys() if key.startswith(prefix))
    shared_redis.ask("PEXPIRE", key, "20000")
    second.put(1, MessageRecord(1, "deliver", WHEN))
    await written(second)
    assert 30_000 < int(shared_redis.ask("PTTL", key)[1:]) <= 60_000
    assert (await second.get_many([1], True))[1].answer == MessageRecord(1, "deliver", WHEN, 2, "10.6", detailed=True)
    for each in (first, second):
        await each.aclose()


@pytest.mark.anyio
async def test_a_key_of_another_type_is_a_miss_of_its_own_id_alone_and_gives_way(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock)
    theirs, store = await shared(shared_redis.url, prefix, clock)
    for id_ in (1, 2, 3):
        ours.put(id_, MessageRecord(id_, "read", WHEN))
    await ours.flush()
    (key,) = (key for key in shared_redis.all_keys() if key.startswith(prefix) and key.endswith(":2"))
    shared_redis.ask("DEL", key)
    shared_redis.ask("HSET", key, "field", "value")
    assert sorted(await theirs.get_many([1, 2, 3])) == [1, 3]
    assert theirs.misses == 1
    assert not store.errors, "it is nobody's fault, and no sign of trouble"
    for id_ in (1, 2, 4):
        theirs.put(id_, MessageRecord(id_, "deliver", WHEN))
    await theirs.flush()
    newcomer, _ = await shared(shared_redis.url, prefix, clock)
    found = await newcomer.get_many([1, 2, 3, 4])
    states = {id_: each.answer.state for id_, each in found.items() if isinstance(each.answer, MessageRecord)}
    assert states == {1: "read", 2: "deliver", 3: "read", 4: "deliver"}
    await newcomer.aclose()
    for each in (ours, theirs):
        await each.aclose()
