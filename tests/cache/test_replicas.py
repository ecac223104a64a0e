"""Two replicas on one Redis: final states never regress, and clocks that differ change nothing."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.collectors import shared_cache_metrics
from app.lookup.failures import MessageNotFound
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import STATES, Cacheable, MessageRecord
from tests.cache.caches import Clock, own_prefix, shared
from tests.support.redis_server import RedisServer

WHEN = datetime(2021, 4, 26, 15, 15, 3, tzinfo=UTC)

answers = st.one_of(
    st.just(MessageNotFound("unknown")),
    st.builds(
        lambda state, detail: MessageRecord(
            1, state, WHEN, 1 if detail else None, "10.6" if detail else None, detailed=detail
        ),
        st.sampled_from([*STATES, "delayed"]),
        st.booleans(),
    ),
)
# Which replica is told what; None lets both write what they have not written yet.
steps = st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 1), answers)), max_size=12)


def is_final(answer: Cacheable) -> bool:
    return isinstance(answer, MessageRecord) and answer.meaning.final


@given(steps)
def test_a_final_state_that_is_written_never_regresses_whoever_writes_last(
    shared_redis: RedisServer, steps: list[tuple[int, Cacheable] | None]
) -> None:
    async def replay() -> None:
        prefix = own_prefix()
        replicas = [(await shared(shared_redis.url, prefix, Clock()))[0] for _ in range(2)]
        first_final: str | None = None
        for step in [*steps, None]:
            if step is not None:
                replicas[step[0]].put(1, step[1])
                continue
            await asyncio.gather(*(replica.flush() for replica in replicas))
            newcomer, _ = await shared(shared_redis.url, prefix, Clock())
            found = (await newcomer.get_many([1])).get(1)
            await newcomer.aclose()
            if first_final is not None:
                assert found is not None
                assert isinstance(found.answer, MessageRecord)
                assert found.answer.state == first_final
            elif found is not None and is_final(found.answer):
                assert isinstance(found.answer, MessageRecord)
                first_final = found.answer.state
        for replica in replicas:
            await replica.aclose()

    asyncio.run(replay())


@pytest.mark.anyio
@pytest.mark.parametrize("seconds_ahead", [-60.0, 60.0, 1e6])
async def test_the_age_is_the_same_for_replicas_whose_clocks_differ(
    shared_redis: RedisServer, seconds_ahead: float
) -> None:
    prefix, clock, other_clock = own_prefix(), Clock(2e6), Clock(2e6 + seconds_ahead)
    ours, _ = await shared(shared_redis.url, prefix, clock)
    theirs, _ = await shared(shared_redis.url, prefix, other_clock)
    ours.put(1, MessageRecord(1, "deliver", WHEN))
    await ours.flush()

    (key,) = (key for key in shared_redis.all_keys() if key.startswith(prefix))
    shared_redis.ask("PEXPIRE", key, "20000")
    (found,) = (await theirs.get_many([1])).values()

    assert other_clock() - found.replied_at == pytest.approx(40, abs=1)
    await ours.aclose()
    await theirs.aclose()


@pytest.mark.anyio
async def test_who_writes_too_late_learns_what_is_final(shared_redis: RedisServer) -> None:
    prefix, clock = own_prefix(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock)
    theirs, _ = await shared(shared_redis.url, prefix, clock)
    theirs.put(1, MessageRecord(1, "read", WHEN))
    await theirs.flush()
    ours.put(1, MessageRecord(1, "send"))
    await ours.flush()

    (found,) = (await ours.get_many([1])).values()

    assert found.answer == MessageRecord(1, "read", WHEN)
    assert ours.hits == {"memory": 1}
    counted = {family.name: [sample.value for sample in family.samples] for family in shared_cache_metrics(ours)()}
    assert counted["message_state_cache_hits"] == [1, 0]
    await ours.aclose()
    await theirs.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("late", "kept"),
    [
        (MessageRecord(1, "send"), MessageRecord(1, "deliver", WHEN)),
        (MessageNotFound("unknown"), MessageRecord(1, "deliver", WHEN)),
        (MessageRecord(1, "read", WHEN), MessageRecord(1, "read", WHEN)),
        (MessageRecord(1, "deliver", WHEN, 1, "10.6", detailed=True),) * 2,
    ],
)
async def test_what_is_written_late_does_not_take_the_place_of_a_later_reply(
    shared_redis: RedisServer, late: Cacheable, kept: Cacheable
) -> None:
    prefix, clock, later = own_prefix(), Clock(), Clock()
    ours, _ = await shared(shared_redis.url, prefix, clock, Lifetimes(60, 60, 86_400, 60))
    theirs, _ = await shared(shared_redis.url, prefix, later, Lifetimes(60, 60, 86_400, 60))
    theirs.put(1, MessageRecord(1, "deliver", WHEN))
    await theirs.flush()
    ours.put(1, late)
    clock.now += 30
    await ours.flush()

    newcomer, _ = await shared(shared_redis.url, prefix, later, Lifetimes(60, 60, 86_400, 60))
    for cache in (newcomer, ours):
        (found,) = (await cache.get_many([1], detail=True)).values()
        assert found.answer == kept
    for cache in (ours, theirs, newcomer):
        await cache.aclose()
