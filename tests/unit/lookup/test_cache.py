"""The memory cache: how long, how many, and what is never forgotten for less."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.cache.memory import MemoryCache
from app.lookup.failures import MessageNotFound
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import STATES, Cacheable, MessageRecord, merge
from tests.support.lookup import LIFETIMES, WHEN, Now

NOT_FOUND = MessageNotFound("left out")
RECORDS = st.builds(
    MessageRecord,
    st.just(1),
    st.sampled_from([*STATES, "queued"]),
    st.sampled_from([None, WHEN]),
).flatmap(
    lambda record: st.sampled_from(
        [record, *(replace(record, parts=n, price_per_part=p, detailed=True) for n, p in ((1, "10.6"), (2, None)))]
    )
)
ANSWERS = st.one_of(RECORDS, st.just(NOT_FOUND))


def record(state: str = "deliver", id_: int = 1) -> MessageRecord:
    return MessageRecord(id_, state, WHEN)


def detailed(state: str = "deliver", parts: int | None = 1) -> MessageRecord:
    return MessageRecord(1, state, WHEN, parts, "10.6000000", detailed=True)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def cache(now: Now) -> MemoryCache:
    return MemoryCache(now, LIFETIMES, max_entries=3)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (record("send"), 2),
        (record("partly_deliver"), 2),
        (record("a new word"), 2),
        (record("deliver"), 60),
        (record("read"), 86400),
        (record("not_deliver"), 86400),
        (record("expired"), 86400),
        (NOT_FOUND, 2),
    ],
)
def test_each_kind_lives_for_its_time(cache: MemoryCache, now: Now, answer: Cacheable, seconds: float) -> None:
    cache.put(1, answer)
    now.seconds += seconds - 0.01
    kept = cache.get(1)
    assert kept is not None
    assert kept.replied_at == 1000
    assert type(kept.answer) is type(answer)
    now.seconds += 0.01
    assert cache.get(1) is None
    assert len(cache) == 0


def test_a_hit_does_not_prolong_a_life(cache: MemoryCache, now: Now) -> None:
    cache.put(1, record("send"))
    for _ in range(2):
        now.seconds += 1
        kept = cache.get(1)
    assert kept is None


def test_what_comes_out_is_what_went_in(cache: MemoryCache) -> None:
    for answer in (record(), detailed(), record("send"), detailed("a new word", parts=None)):
        cache = MemoryCache(Now(), LIFETIMES, max_entries=3)
        cache.put(1, answer)
        kept = cache.get(1)
        assert kept is not None
        assert kept.answer == answer


def test_the_least_recently_used_goes_first(cache: MemoryCache) -> None:
    for id_ in (1, 2, 3):
        cache.put(id_, record(id_=id_))
    cache.get(1)
    cache.put(2, record(id_=2))
    cache.put(4, record(id_=4))
    assert [id_ for id_ in (1, 2, 3, 4) if cache.get(id_)] == [1, 2, 4]
    assert len(cache) == 3
    assert cache.evictions == 1


def test_a_lifetime_of_zero_keeps_nothing_and_forgets_what_was_there(now: Now) -> None:
    cache = MemoryCache(now, Lifetimes(pending=0, delivered=60, final=60, not_found=0), max_entries=3)
    cache.put(1, record())
    assert cache.put(1, NOT_FOUND).answer is NOT_FOUND
    assert cache.get(1) is None
    assert cache.put(1, record("send")).answer == record("send")
    assert len(cache) == 0


def test_only_what_is_known_and_good_comes_back(cache: MemoryCache, now: Now) -> None:
    cache.put(1, record("send"))
    cache.put(2, record())
    now.seconds += 3
    assert list(asyncio.run(cache.get_many([1, 2, 3]))) == [2]


@pytest.mark.parametrize("final", ["read", "not_deliver", "expired"])
@pytest.mark.parametrize("later", [record("deliver"), record("send"), record("a new word"), NOT_FOUND])
def test_a_final_state_is_never_replaced_by_another(cache: MemoryCache, final: str, later: Cacheable) -> None:
    cache.put(1, record(final))
    assert cache.put(1, later).answer == record(final), "and its callers get the final one, too"
    kept = cache.get(1)
    assert kept is not None
    assert kept.answer == record(final)


def test_a_state_that_is_not_final_makes_way(cache: MemoryCache) -> None:
    for answer in (record("deliver"), record("send"), NOT_FOUND, record("read")):
        assert cache.put(1, answer).answer == answer


def test_parts_and_price_stay_while_the_state_stays(cache: MemoryCache) -> None:
    cache.put(1, detailed("send"))
    assert cache.put(1, record("send")).answer == detailed("send")
    assert cache.put(1, record("deliver")).answer == record("deliver")


@given(new=ANSWERS, old=st.one_of(ANSWERS, st.none()))
def test_what_counts_after_a_new_answer(new: Cacheable, old: Cacheable | None) -> None:
    kept = merge(new, old, in_order=True)
    old_record, new_record = (each if isinstance(each, MessageRecord) else None for each in (old, new))
    if old_record and old_record.meaning.final:
        assert isinstance(kept, MessageRecord)
        assert kept.state == old_record.state
        assert kept.detailed >= old_record.detailed
    else:
        assert type(kept) is type(new)
        assert not isinstance(kept, MessageRecord) or (new_record and kept.state == new_record.state)
    if isinstance(kept, MessageRecord):
        if new_record:
            assert kept.detailed >= new_record.detailed, "who asked for detail gets it"
        if kept.detailed:
            details = [(each.parts, each.price_per_part) for each in (old_record, new_record) if each and each.detailed]
            assert (kept.parts, kept.price_per_part) in details
        else:
            assert (kept.parts, kept.price_per_part) == (None, None)
    assert merge(new, kept, in_order=True) == kept, "the same answer again changes nothing"


@given(answers=st.lists(ANSWERS, min_size=1, max_size=6))
def test_after_the_first_final_answer_the_state_stays(answers: list[Cacheable]) -> None:
    kept: Cacheable | None = None
    first_final = next((each.state for each in answers if isinstance(each, MessageRecord) and each.meaning.final), None)
    for answer in answers:
        kept = merge(answer, kept, in_order=True)
    if first_final is not None:
        assert isinstance(kept, MessageRecord)
        assert kept.state == first_final
