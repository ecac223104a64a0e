"""What the engine may rely on, whichever cache it is given."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from app.lookup.cache.base import Cache
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.failures import EntryRefused, EntryRejected, MessageNotFound
from app.lookup.lifetimes import Cached, Lifetimes
from app.lookup.record import Cacheable, MessageRecord
from tests.cache.caches import LIFETIMES, Clock, memory, own_prefix, shared
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio

WHEN = datetime(2021, 4, 26, 15, 15, 3, tzinfo=timezone(timedelta(hours=3)))
SEND = MessageRecord(1, "send")
DELIVER = MessageRecord(1, "deliver", WHEN)
READ = MessageRecord(1, "read", WHEN)
READ_DETAILED = MessageRecord(1, "read", WHEN, 2, "10.6000000", detailed=True)
UNKNOWN_WORD = MessageRecord(1, "Delayed_2-b", WHEN, None, None, detailed=True)
NOT_FOUND = MessageNotFound("the reply leaves it out")
NOT_TAKEN = MessageNotFound("a text says so", upstream_message="Сообщение с таким ID не принималось")
REFUSED = EntryRefused("a text", upstream_message="read | Абонент\u00a0заблокирован")
REJECTED = EntryRejected("a text without anything that may be shown")
LIVES: list[tuple[Cacheable, float]] = [
    (SEND, 20),
    (UNKNOWN_WORD, 20),
    (DELIVER, 60),
    (READ, 86_400),
    (READ_DETAILED, 86_400),
    (NOT_FOUND, 30),
    (NOT_TAKEN, 30),
    (REFUSED, 30),
    (REJECTED, 30),
]


@dataclass
class Backend:
    """A cache to write to, one to read from (the same, or another replica's), and time for both."""

    write: Cache
    read: Cache
    clock: Clock
    server: RedisServer | None = None
    prefix: str = ""

    async def put(self, answer: Cacheable) -> Cacheable:
        """Keep an answer for id 1 until it is where others can read it."""
        kept = self.write.put(1, answer)
        if isinstance(self.write, TwoLevelCache):
            await self.write.flush()
        return kept.answer

    async def get(self, ids: Iterable[int] = (1,), detail: bool = False) -> dict[int, Cached]:
        """What is known."""
        return await self.read.get_many(list(ids), detail)

    def pass_time(self, seconds: float) -> None:
        """Let time pass here and, by making every lifetime shorter, on the server."""
        self.clock.now += seconds
        if self.server is not None:
            for key in self.server.all_keys():
                if key.startswith(self.prefix):
                    left = int(self.server.ask("PTTL", key)[1:]) - int(seconds * 1000)
                    self.server.ask("PEXPIRE", key, str(left))


@pytest.fixture(params=["memory", "shared", "another replica"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    clock = Clock()
    if request.param == "memory":
        cache = memory(clock)
        yield Backend(cache, cache, clock)
        return
    server: RedisServer = request.getfixturevalue("shared_redis")
    prefix = own_prefix()
    ours, _ = await shared(server.url, prefix, clock)
    theirs, _ = await shared(server.url, prefix, clock)
    yield Backend(ours, ours if request.param == "shared" else theirs, clock, server, prefix)
    await ours.aclose()
    await theirs.aclose()


def same(one: Cacheable, other: Cacheable) -> bool:
    """Whether two answers say the same, as a failure is no value."""
    if isinstance(one, MessageRecord) or isinstance(other, MessageRecord):
        return one == other
    return type(one) is type(other) and one.upstream_message == other.upstream_message


async def test_nothing_is_known_at_first(backend: Backend) -> None:
    assert await backend.get([1, 2]) == {}


@pytest.mark.parametrize(("answer", "_seconds"), LIVES)
async def test_an_answer_comes_back_as_it_was(backend: Backend, answer: Cacheable, _seconds: float) -> None:
    assert same(await backend.put(answer), answer)

    found = await backend.get([1, 2])

    assert found.keys() == {1}
    assert same(found[1].answer, answer)


@pytest.mark.parametrize(("answer", "seconds"), LIVES)
async def test_an_answer_lives_as_long_as_its_kind(backend: Backend, answer: Cacheable, seconds: float) -> None:
    await backend.put(answer)
    backend.pass_time(seconds - 5)
    (found,) = (await backend.get()).values()

    assert backend.clock() - found.replied_at == pytest.approx(seconds - 5, abs=4)
    backend.pass_time(6)
    assert await backend.get() == {}


@pytest.mark.parametrize(
    "later",
    [
        SEND, DELIVER, NOT_FOUND, NOT_TAKEN, REFUSED, REJECTED, EntryRefused("a text", upstream_message="read"),
        MessageRecord(1, "expired", WHEN), UNKNOWN_WORD,
    ],
)  # fmt: skip
async def test_a_final_state_stays_whatever_comes_later(backend: Backend, later: Cacheable) -> None:
    await backend.put(READ)
    await backend.put(later)

    (found,) = (await backend.get()).values()

    assert isinstance(found.answer, MessageRecord)
    assert (found.answer.state, found.answer.changed_at) == ("read", WHEN)


async def test_a_state_that_is_not_final_gives_way(backend: Backend) -> None:
    await backend.put(DELIVER)
    await backend.put(SEND)

    (found,) = (await backend.get()).values()

    assert found.answer == SEND


@pytest.mark.parametrize("text", [NOT_TAKEN, REFUSED, REJECTED])
async def test_an_error_text_takes_the_place_of_a_state_that_is_not_final(backend: Backend, text: Cacheable) -> None:
    await backend.put(MessageRecord(1, "deliver", WHEN, 2, "10.6000000", detailed=True))
    await backend.put(text)
    (found,) = (await backend.get(detail=True)).values()
    assert same(found.answer, text)


@pytest.mark.parametrize("text", [NOT_TAKEN, REFUSED, REJECTED])
async def test_an_error_text_gives_way_to_any_state(backend: Backend, text: Cacheable) -> None:
    await backend.put(text)
    await backend.put(SEND)

    (found,) = (await backend.get()).values()
    assert found.answer == SEND


async def test_parts_and_price_stay_when_the_same_state_comes_without_them(backend: Backend) -> None:
    await backend.put(READ_DETAILED)
    await backend.put(READ)

    (found,) = (await backend.get(detail=True)).values()

    assert found.answer == READ_DETAILED


async def test_a_final_state_takes_parts_and_price_from_a_later_answer(backend: Backend) -> None:
    await backend.put(READ)
    await backend.put(MessageRecord(1, "deliver", None, 2, "10.6000000", detailed=True))

    (found,) = (await backend.get(detail=True)).values()

    assert found.answer == READ_DETAILED


@pytest.mark.parametrize("kind", ["memory", "shared"])
async def test_a_lifetime_of_zero_keeps_nothing(kind: str, request: pytest.FixtureRequest) -> None:
    clock, never = Clock(), Lifetimes(0, 0, 0, 0)
    cache: MemoryCache | TwoLevelCache = memory(clock, never)
    if kind == "shared":
        cache, _ = await shared(request.getfixturevalue("shared_redis").url, own_prefix(), clock, never)

    cache.put(1, READ)

    assert await cache.get_many([1]) == {}
    await cache.aclose()


def test_every_kind_of_answer_has_its_lifetime() -> None:
    assert [LIFETIMES.of(answer) for answer, _ in LIVES] == [seconds for _, seconds in LIVES]
