"""The two levels, before a store that does as it is told."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from app.lookup.cache import two_levels
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.lifetimes import Cached, Lifetimes
from app.lookup.record import MessageRecord
from tests.support.virtual_time import on_virtual_time

pytestmark = pytest.mark.anyio


LIFETIMES = Lifetimes(2, 60, 86_400, 2)


class FakeStore:
    """Remembers what it is asked; a trip takes as long as ``gate`` is closed."""

    def __init__(self) -> None:
        self.known: dict[int, Cached] = {}
        self.reads: list[list[int]] = []
        self.writes: list[list[int]] = []
        self.states: dict[int, str] = {}
        self.up = True
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def ready(self) -> bool:
        return self.up

    def writable(self) -> bool:
        return self.up

    async def read(self, ids: Collection[int], limit: float) -> dict[int, Cached]:
        del limit
        self.reads.append(list(ids))
        await self.gate.wait()
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached] | None:
        self.writes.append(list(answers))
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            return None
        for id_, each in answers.items():
            assert isinstance(each.answer, MessageRecord)
            self.states[id_] = each.answer.state
        return {}

    async def aclose(self) -> None:
        self.up = False


def replica() -> tuple[FakeStore, TwoLevelCache]:
    """Two levels, of which the first has room for two."""
    store = FakeStore()
    return store, TwoLevelCache(MemoryCache(lambda: 1000.0, LIFETIMES, max_entries=2), store)


@pytest.fixture
def cache() -> TwoLevelCache:
    return replica()[1]


@pytest.fixture
def store(cache: TwoLevelCache) -> FakeStore:
    assert isinstance(cache._store, FakeStore)
    return cache._store


def told(answer: MessageRecord, replied_at: float) -> Cached:
    """What another replica was answered."""
    return LIFETIMES.cached(answer, replied_at, replied_at)


def record(id_: int, state: str = "send", detailed: bool = False) -> MessageRecord:
    return MessageRecord(id_, state, detailed=detailed)


async def test_what_one_turn_asks_for_is_read_in_one_trip(store: FakeStore, cache: TwoLevelCache) -> None:
    store.known = {id_: told(record(id_), 999.0) for id_ in (1, 2, 3)}

    found = await asyncio.gather(cache.get_many([1, 2]), cache.get_many([2, 3]), cache.get_many([4]))

    assert store.reads == [[1, 2, 3, 4]]
    assert [sorted(each) for each in found] == [[1, 2], [2, 3], []]  # although memory has room for two
    assert (cache.hits["shared"], cache.misses) == (4, 1)


async def test_who_comes_while_a_trip_is_under_way_waits_for_the_next(store: FakeStore, cache: TwoLevelCache) -> None:
    store.gate.clear()
    callers = [asyncio.create_task(cache.get_many([id_])) for id_ in (1, 2)]
    while not store.reads:
        await asyncio.sleep(0)
    callers += [asyncio.create_task(cache.get_many([id_])) for id_ in (3, 4)]
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(*callers)

    assert store.reads == [[1, 2], [3, 4]]


async def test_no_trip_is_longer_than_what_a_server_bears(store: FakeStore, cache: TwoLevelCache) -> None:
    await cache.get_many(range(1, 2501))

    assert [len(each) for each in store.reads] == [1000, 1000, 500]


async def test_a_caller_that_leaves_takes_nothing_from_the_others(store: FakeStore, cache: TwoLevelCache) -> None:
    store.known = {1: told(record(1), 999.0)}
    leaving, staying = (asyncio.create_task(cache.get_many([1])) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()

    assert 1 in await staying


async def test_the_store_is_not_asked_for_what_memory_has(store: FakeStore, cache: TwoLevelCache) -> None:
    cache.put(1, record(1))

    assert 1 in await cache.get_many([1])
    assert store.reads == []


async def test_the_store_is_asked_for_the_detail_that_memory_lacks(store: FakeStore, cache: TwoLevelCache) -> None:
    cache.put(1, record(1, "read"))
    store.known = {1: told(record(1, "read", detailed=True), 990.0)}

    assert (await cache.get_many([1], detail=True))[1].answer == record(1, "read", detailed=True)
    assert (await cache.get_many([1], detail=True))[1].answer == record(1, "read", detailed=True)
    assert store.reads == [[1]]


async def test_an_answer_of_the_platform_meanwhile_wins_over_an_older_one(
    store: FakeStore, cache: TwoLevelCache
) -> None:
    store.known = {1: told(record(1, "send"), 999.0)}
    store.gate.clear()
    caller = asyncio.create_task(cache.get_many([1]))
    while not store.reads:
        await asyncio.sleep(0)
    cache.put(1, record(1, "deliver"))
    store.gate.set()

    assert (await caller)[1].answer == record(1, "deliver")


async def test_a_store_that_cannot_be_asked_is_not_asked(store: FakeStore, cache: TwoLevelCache) -> None:
    store.up = False
    cache.put(1, record(1))
    await cache.get_many([2])

    assert (store.reads, store.writes) == ([], [])
    await cache.aclose()


async def test_answers_of_one_turn_are_written_in_one_trip(store: FakeStore, cache: TwoLevelCache) -> None:
    for id_ in (1, 2, 1):
        cache.put(id_, record(id_))
    await cache.flush()

    assert store.writes == [[1, 2]]


async def test_a_failed_write_is_tried_once_more_at_once(store: FakeStore, cache: TwoLevelCache) -> None:
    store.failures = 1
    cache.put(1, record(1))
    await cache.flush()

    assert (store.writes, cache.dropped) == ([[1], [1]], 0)


@on_virtual_time
async def test_what_a_store_in_trouble_did_not_take_is_written_once_it_takes_it_the_latest_of_each() -> None:
    store, cache = replica()
    store.failures = 5
    cache.put(1, record(1))
    cache.put(2, record(2))
    await asyncio.sleep(0.5)
    store.up = False
    cache.put(2, record(2, "deliver"))
    await asyncio.sleep(two_levels.RETRY_SECONDS)
    assert store.writes == [[1, 2]] * 2, "one that is not to be written to is left alone"
    store.up = True
    await asyncio.sleep(3 * two_levels.RETRY_SECONDS)

    assert store.writes == [[1, 2]] * 6
    assert store.states == {1: "send", 2: "deliver"}
    assert cache.dropped == 0


@on_virtual_time
async def test_the_end_of_a_store_in_trouble_is_not_waited_for() -> None:
    store, cache = replica()
    store.failures = 100
    cache.put(1, record(1))
    await cache.aclose()
    await asyncio.sleep(10 * two_levels.RETRY_SECONDS)

    assert store.writes == [[1]] * 2


async def test_what_waits_to_be_written_is_bounded_and_the_oldest_goes_first(
    store: FakeStore, cache: TwoLevelCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_levels, "MAX_UNWRITTEN", 3)
    for id_ in (1, 2, 3, 4, 5, 3):
        cache.put(id_, record(id_))
    await cache.aclose()

    assert (store.writes, cache.dropped, store.up) == ([[3, 4, 5]], 2, False)
