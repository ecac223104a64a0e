"""How long an answer is trusted: within its bounds, never shorter while the state stays, and anew with a change."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.lookup.cache.memory import MemoryCache
from app.lookup.failures import EntryRefused, MessageNotFound
from app.lookup.lifetimes import Lifetimes, stays
from app.lookup.record import Cacheable, MessageRecord

MOSCOW = ZoneInfo("Europe/Moscow")
NOON = datetime(2026, 11, 26, 12, 0, 0, tzinfo=MOSCOW)
PENDING, PENDING_MAX, DELIVERED, DELIVERED_MAX, FINAL, NOT_FOUND = 2.0, 60.0, 60.0, 3600.0, 86_400.0, 3.0


class Clocks:
    """A monotonic clock and a wall clock, which need not agree."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall = NOON.timestamp()

    def pass_time(self, seconds: float) -> None:
        """Let time pass for both."""
        self.now += seconds
        self.wall += seconds

    def lifetimes(self, **others: float | None) -> Lifetimes:
        """The defaults of the settings, unless told otherwise."""
        times: dict[str, float | None] = {"pending_max": PENDING_MAX, "delivered_max": DELIVERED_MAX, **others}
        return Lifetimes(PENDING, DELIVERED, FINAL, NOT_FOUND, **times, wall_clock=lambda: self.wall)

    def memory(self, **others: float | None) -> MemoryCache:
        """A memory cache on these clocks."""
        return MemoryCache(lambda: self.now, self.lifetimes(**others), max_entries=100)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def ago(seconds: float, state: str = "partly_deliver") -> MessageRecord:
    """A state that changed so many seconds before noon."""
    return MessageRecord(1, state, NOON - timedelta(seconds=seconds))


SEND = MessageRecord(1, "send")
NOT_TAKEN = MessageNotFound("a text says so", upstream_message="no such message")


@pytest.mark.parametrize(
    ("answer", "ttl"),
    [
        (ago(0), 2),
        (ago(20), 2),
        (ago(30), 3),
        (ago(333), 33.3),
        (ago(600), 60),
        (ago(10**8), 60),
        (ago(-3600), 2),
        (ago(120, "a-new_word"), 12),
        (ago(30, "deliver"), 60),
        (ago(1200, "deliver"), 120),
        (ago(10**6, "deliver"), 3600),
        (ago(10**6, "read"), 86_400),
        (ago(-(10**6), "expired"), 86_400),
        (SEND, 2),
        (NOT_TAKEN, 3),
        (EntryRefused("a text"), 3),
        (MessageRecord(1, "deliver", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))), 3600),
        (MessageRecord(1, "send", datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))), 2),
    ],
)
def test_a_first_answer_is_good_for_a_tenth_of_its_age(clocks: Clocks, answer: Cacheable, ttl: float) -> None:
    assert clocks.memory().put(1, answer).ttl == pytest.approx(ttl)


@pytest.mark.parametrize("answer", [SEND, NOT_TAKEN, EntryRefused("a text", upstream_message="No.")])
def test_without_a_time_the_age_counts_from_first_sight(clocks: Clocks, answer: Cacheable) -> None:
    cache = clocks.memory()
    least = cache.put(1, answer).max_age
    clocks.pass_time(40)
    assert cache.put(1, answer).ttl == 4
    clocks.pass_time(50)
    assert cache.put(1, answer).ttl == 9
    clocks.pass_time(68)
    assert cache.put(1, answer).ttl == pytest.approx(15.8)
    clocks.pass_time(500)
    assert cache.put(1, answer).ttl == least


def test_first_sight_is_remembered_for_pending_ttl_max_beyond_the_answers_end_and_no_longer(clocks: Clocks) -> None:
    for silent, ttl in ((61.9, 6.19), (62.1, 2)):
        cache = clocks.memory()
        cache.put(1, SEND)
        clocks.pass_time(silent)
        assert cache.get(1) is None, "it is not served any more"
        assert cache.put(1, SEND).ttl == pytest.approx(ttl)


def test_a_state_whose_change_was_seen_begins_anew_whatever_time_the_platform_gives(clocks: Clocks) -> None:
    cache = clocks.memory()
    cache.put(1, SEND)
    for hours in (3, -3):
        clocks.pass_time(30)
        wrong_time = datetime.fromtimestamp(clocks.wall, UTC) - timedelta(hours=hours)
        wrong_zone = MessageRecord(1, "partly_deliver", wrong_time)
        assert cache.put(1, wrong_zone).ttl == PENDING
        clocks.pass_time(30)
        assert cache.put(1, wrong_zone).ttl == 3
        assert cache.put(1, SEND).ttl == PENDING


def test_a_report_begins_anew_also_where_it_repeats_what_is_known(clocks: Clocks) -> None:
    cache = clocks.memory()
    cache.put(1, ago(3000))
    assert cache.put(1, ago(3000)).ttl == PENDING_MAX
    assert cache.put(1, ago(3000), reported=True).ttl == PENDING
    assert clocks.memory().put(1, ago(3000), reported=True).ttl == PENDING
    clocks.pass_time(100)
    assert cache.put(1, ago(3000)).ttl == pytest.approx(PENDING_MAX), "so long after its end nothing is remembered"


@pytest.mark.parametrize("step", [-(10.0**9), -3600.0, 3600.0, 10.0**9])
def test_a_wall_clock_that_steps_changes_nothing_for_a_state_that_is_known(clocks: Clocks, step: float) -> None:
    cache = clocks.memory()
    assert cache.put(1, ago(100)).ttl == 10
    clocks.wall += step
    clocks.pass_time(10)
    assert cache.put(1, ago(100)).ttl == 11


def test_a_kind_with_no_time_is_never_kept_and_the_maximum_equal_to_the_lifetime_means_no_growth(
    clocks: Clocks,
) -> None:
    lifetimes = Lifetimes(0, 0, 0, 0, PENDING_MAX, DELIVERED_MAX, wall_clock=lambda: clocks.wall)
    cache = MemoryCache(lambda: clocks.now, lifetimes, max_entries=9)
    for answer in (ago(10**6), ago(10**6, "deliver"), ago(10**6, "read"), NOT_TAKEN):
        assert cache.put(1, answer).ttl == 0
        assert len(cache) == 0
    steady = clocks.memory(pending_max=PENDING, delivered_max=DELIVERED)
    assert [steady.put(1, ago(10**6, state)).ttl for state in ("send", "deliver")] == [PENDING, DELIVERED]
    clocks.pass_time(PENDING)
    steady.put(2, SEND)
    clocks.pass_time(PENDING)
    assert steady.peek(2) is None
    assert 2 not in steady._entries, "what does not grow is not remembered"


def test_lookups_that_growth_has_saved_are_counted_once_for_each_lifetime(clocks: Clocks) -> None:
    cache = clocks.memory()
    cache.put(1, ago(1000))
    for _ in range(590):
        clocks.pass_time(0.1)
        assert cache.get(1) is not None
    assert cache.saved == pytest.approx(59 / PENDING - 1, abs=1.5)
    cache.put(2, ago(1000, "read"))
    clocks.pass_time(FINAL - 1)
    before = cache.saved
    assert cache.get(2) is not None
    assert cache.saved == before


@given(st.floats(0, 1000), st.lists(st.floats(0, 20), max_size=20))
def test_an_answer_is_served_as_long_as_it_is_good_whenever_lookups_come(lasted: float, pauses: list[float]) -> None:
    clocks = Clocks()
    cache = clocks.memory()
    kept = cache.put(1, ago(lasted))
    for pause in pauses:
        clocks.pass_time(pause)
        found = cache.get(1)
        assert (found is not None) is (clocks.now < kept.replied_at + kept.ttl)
        assert found is None or found.answer == kept.answer


@dataclass(frozen=True)
class Reply:
    """What the platform says, after so many seconds; both clocks may run wrongly meanwhile."""

    after: float
    state: str | None
    changed_at: datetime | None
    step: float
    reported: bool

    @property
    def answer(self) -> Cacheable:
        return NOT_TAKEN if self.state is None else MessageRecord(1, self.state, self.changed_at)


REPLIES = st.lists(
    st.builds(
        Reply,
        after=st.one_of(st.floats(0, 90), st.floats(0, 5000)),
        state=st.sampled_from(["send", "partly_deliver", "deliver", "a-new_word", None]),
        changed_at=st.none() | st.sampled_from([NOON, NOON - timedelta(hours=5), NOON + timedelta(hours=5)]),
        step=st.sampled_from([0.0, 0.0, 7200.0, -7200.0]),
        reported=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=12,
)


@given(REPLIES)
def test_whatever_comes_a_lifetime_is_within_its_bounds_grows_while_the_state_stays_and_begins_anew(
    replies: list[Reply],
) -> None:
    clocks = Clocks()
    cache = clocks.memory()
    last = None
    for reply in replies:
        clocks.pass_time(reply.after)
        clocks.wall += reply.step
        remembered = last is not None and clocks.now - last.replied_at < last.ttl + PENDING_MAX
        kept = cache.put(1, reply.answer, reported=reply.reported)
        least, most = {"deliver": (DELIVERED, DELIVERED_MAX), None: (NOT_FOUND, PENDING_MAX)}.get(
            reply.state, (PENDING, PENDING_MAX)
        )
        assert least <= kept.ttl <= most
        assert kept.max_age == least
        assert kept.since <= kept.replied_at == clocks.now
        if reply.reported:
            assert kept.ttl == least
        elif last is not None and remembered:
            if stays(kept.answer, last.answer):
                assert kept.ttl >= last.ttl
                assert kept.since == last.since
            else:
                assert kept.ttl == least
        last = kept


@example(first=10, second=0, lasted=100, same=False)
@given(first=st.floats(0, 3000), second=st.floats(0, 3000), lasted=st.floats(0, 3000), same=st.booleans())
def test_what_another_replica_tells_lets_a_state_be_older_but_never_younger(
    first: float, second: float, lasted: float, same: bool
) -> None:
    clocks = Clocks()
    cache = clocks.memory()
    own = cache.put(1, SEND)
    clocks.pass_time(50)
    lifetimes = clocks.lifetimes()
    answer = SEND if same else ago(0)
    told = lifetimes.cached(answer, clocks.now - first, clocks.now - first - lasted)
    kept = cache.adopt(1, told)
    assert PENDING <= kept.ttl <= PENDING_MAX
    if same:
        assert kept.since == min(own.since, told.since)
        assert kept.replied_at == max(own.replied_at, told.replied_at)
    elif told.replied_at >= own.replied_at:
        assert kept.since == max(own.replied_at, told.since), "the platform said something else until then"
    else:
        assert kept == own
    clocks.pass_time(second / 100)
    assert cache.adopt(1, told).ttl >= kept.ttl or cache.peek(1) is None


def test_a_repeated_hour_is_the_same_time_in_every_zone() -> None:
    berlin = datetime(2021, 10, 31, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    utc = datetime(2021, 10, 31, 0, 30, tzinfo=UTC)
    assert stays(MessageRecord(1, "deliver", berlin), MessageRecord(1, "deliver", utc))
    assert not stays(MessageRecord(1, "deliver", berlin), MessageRecord(1, "deliver"))
