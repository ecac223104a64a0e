"""Replicas that watch the same messages ask like one process, and what happens to the one that asks blinds no other."""

import asyncio
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import pytest

from app.lookup.failures import AccountLocked, LookupFailure, TimedOut
from app.lookup.lifetimes import Lifetimes
from app.lookup.watcher import FIRST_ANSWER
from tests.support.lookup import LATENCY, LIFETIMES, PlatformInMemory
from tests.support.replicas import Replica, replicas
from tests.support.virtual_time import loop, on_virtual_time

TTL = 2.0
IDS = range(1, 51)
PAGE = range(1, 3)
GROWING = Lifetimes(pending=2, delivered=60, final=86_400, not_found=2, pending_max=60, delivered_max=3600)
WITH_THE_WEBHOOK = replace(GROWING, pending=60, pending_max=3600)
FIRST_HOUR, LATER_HOUR = 105, 62
WATCHING = Path(__file__).parents[3] / "docs/watching.md"
MOVED = "partly_deliver"


def pending() -> PlatformInMemory:
    """A platform on which every message stays on its way."""
    return PlatformInMemory(state="send")


async def watch_in_turn(members: list[Replica], seconds: float, ids: Collection[int] = IDS) -> None:
    """A stream on each replica, so many seconds after the one before. The first one asks."""

    async def watch(replica: Replica, delay: float) -> None:
        await asyncio.sleep(delay)
        await replica.watch(ids)

    await asyncio.gather(*(watch(each, number * seconds) for number, each in enumerate(members)))


def holder_among(members: list[Replica]) -> Replica:
    """Who holds the lease on message 1, as the store says."""
    name, _ = members[0].connection.leases[1]
    (holder,) = (each for each in members if each.leases.name == name)
    return holder


async def until_seen(replica: Replica, state: str = MOVED) -> float:
    """Wait until those who wait on a replica know this of message 1. Returns the seconds that it took."""
    started = loop().time()
    while replica.state(1) != state:
        await asyncio.sleep(0.01)
        assert loop().time() - started < 1000, "never seen"
    return loop().time() - started


@pytest.mark.parametrize("number", [3, 6])
@pytest.mark.parametrize("apart", [0.0, 0.01, 0.6])
def test_replicas_ask_as_many_entries_as_one_process_wherever_their_streams_begin(number: int, apart: float) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with replicas(platform, number) as members:
            watching = asyncio.create_task(watch_in_turn(members, apart))
            await asyncio.sleep(12)
            assert platform.entries_sent == 6 * len(IDS)
            await watching
            assert {each.state(id_) for each in members for id_ in IDS} == {"send"}
            # Each of them counts what another one got for it.
            assert sum(each.leases.saved for each in members) >= 4 * len(IDS) * (number - 1)

    scenario()


async def entries_of_each_hour(number: int, lifetimes: Lifetimes, apart: float, hours: int) -> list[int]:
    """What a page of 100 messages costs that is shown on so many replicas while all phones are off."""
    platform = pending()
    counts = []
    async with replicas(platform, number, lifetimes) as members:
        watching = asyncio.create_task(watch_in_turn(members, apart, PAGE))
        for _ in range(hours):
            before = platform.entries_sent
            await asyncio.sleep(3600)
            counts.append((platform.entries_sent - before) * 100 // len(PAGE))
        await watching
    return counts


@pytest.mark.parametrize("number", [1, 3, 6])
@pytest.mark.parametrize("apart", [0.6, 10.0])
def test_messages_whose_phones_are_off_cost_as_much_on_six_replicas_as_on_one(number: int, apart: float) -> None:
    @on_virtual_time
    async def scenario() -> None:
        first, later = await entries_of_each_hour(number, GROWING, apart, 2)
        assert 100 * (FIRST_HOUR - 10) < first <= 100 * FIRST_HOUR
        assert 100 * (LATER_HOUR - 5) < later <= 100 * LATER_HOUR

    scenario()


ROWS = re.findall(r"^\| (.*) \| ([136]) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", WATCHING.read_text(), re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}, {row[0]}")
def test_the_table_in_watching_md_says_what_such_a_page_costs(row: tuple[str, ...]) -> None:
    @on_virtual_time
    async def scenario() -> None:
        lifetimes = WITH_THE_WEBHOOK if "webhook allows" in row[0] else GROWING
        counts = await entries_of_each_hour(int(row[1]), lifetimes, 0.0, 3)
        assert [f"{each:,}" for each in counts] == list(row[2:])

    scenario()


def test_the_table_in_watching_md_has_one_three_and_six_replicas_with_and_without_the_webhook() -> None:
    assert [row[1] for row in ROWS] == ["1", "3", "6"] * 2


@on_virtual_time
async def test_a_lookup_of_a_caller_waits_for_no_lease() -> None:
    async with replicas(pending(), 2) as (one, other):
        one.connection.leases[1] = one.leases.name, loop().time() + 60
        started = loop().time()
        await other.engine.lookup([1], False)
        assert loop().time() - started <= LATENCY + 0.01


@on_virtual_time
async def test_a_stream_that_begins_while_another_replica_asks_begins_soon_whatever_becomes_of_that_one() -> None:
    platform = pending()
    async with replicas(platform, 2) as (one, other):
        platform.latency = 3600.0
        first = asyncio.create_task(one.watch([1]))
        await asyncio.sleep(0.01)
        one.stop()
        platform.latency = LATENCY
        started = loop().time()
        await other.watch([1])
        assert other.state(1) == "send"
        assert FIRST_ANSWER <= loop().time() - started <= FIRST_ANSWER + LATENCY + 0.01
        # Known by now, if only by the other one: nobody waits once more.
        started = loop().time()
        await other.watch([1])
        assert loop().time() - started <= 0.01
        one.resume()
        await first


@on_virtual_time
async def test_a_wait_that_begins_with_no_cache_waits_for_no_other_replica() -> None:
    async with replicas(pending(), 2) as (one, other):
        one.connection.leases[1] = one.leases.name, loop().time() + 60
        started = loop().time()
        await other.watcher.begin(other.watcher.subscribe([1], False), fresh=True)
        assert other.state(1) == "send"
        assert loop().time() - started <= LATENCY + 0.01


@on_virtual_time
async def test_a_replica_whose_streams_begin_without_an_answer_holds_up_no_other_one() -> None:
    async with replicas(pending(), 2) as (one, other):
        one.failing = locked_out
        await one.watch(IDS)
        assert not one.leases.held
        started = loop().time()
        await other.watch(IDS)
        assert {other.state(id_) for id_ in IDS} == {"send"}
        assert loop().time() - started <= LATENCY + 0.01


@on_virtual_time
async def test_who_leaves_while_another_replica_asks_is_not_kept() -> None:
    async with replicas(pending(), 2) as (one, other):
        one.connection.leases[1] = one.leases.name, loop().time() + 60
        subscription = other.watcher.subscribe([1], False)
        beginning = asyncio.create_task(other.watcher.begin(subscription))
        await asyncio.sleep(FIRST_ANSWER / 5)
        subscription.close()
        started = loop().time()
        await beginning
        assert loop().time() - started <= LATENCY + 0.01


@on_virtual_time
async def test_a_first_answer_that_another_replica_got_counts_as_saved() -> None:
    platform = pending()
    async with replicas(platform, 3) as members:
        await asyncio.gather(*(each.watch(IDS) for each in members))
        assert platform.entries_sent == len(IDS)
        assert sum(each.leases.saved for each in members) == 2 * len(IDS)


@on_virtual_time
async def test_a_stream_that_begins_with_an_unknown_message_costs_one_entry_on_all_replicas_together() -> None:
    platform = pending()
    platform.unknown = {1}
    async with replicas(platform, 3) as members:
        await asyncio.gather(*(each.watch([1]) for each in members))
        # Asked again with a canary, by one of them.
        assert sum(1 in request.entries for request in platform.requests) <= 2
        assert all(each.watcher.snapshot(1).settled for each in members)


@pytest.mark.parametrize("lifetimes", [LIFETIMES, GROWING], ids=["new", "lasting"])
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.7, 1.4, 1.95])
def test_when_the_holder_is_killed_the_others_see_a_change_within_two_lifetimes(
    lifetimes: Lifetimes, moment: float
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with replicas(platform, 3, lifetimes) as members:
            await watch_in_turn(members, 0.3)
            await asyncio.sleep(100 + moment)
            holder = holder_among(members)
            others = [each for each in members if each is not holder]
            ttl = others[0].watcher.snapshot(1).ttl
            holder.stop()
            platform.state = MOVED
            before = platform.entries_sent
            for late in await asyncio.gather(*(until_seen(each) for each in others)):
                assert late <= 2 * ttl + 0.2
            assert platform.entries_sent - before == len(IDS)

    scenario()


@on_virtual_time
async def test_when_the_holder_is_killed_just_after_a_long_lease_a_new_state_is_followed_within_two_lifetimes() -> None:
    platform = pending()
    async with replicas(platform, 3, GROWING) as members:
        await watch_in_turn(members, 0.3)
        await asyncio.sleep(1000)
        platform.state = MOVED
        others = [each for each in members if each is not holder_among(members)]
        await asyncio.gather(*(until_seen(each) for each in others))
        # The lease on a state that had lasted goes on for a minute.
        holder_among(members).stop()
        platform.state = "read"
        for late in await asyncio.gather(*(until_seen(each, "read") for each in others)):
            assert late <= 3 * TTL + 0.2


@on_virtual_time
async def test_a_holder_that_goes_on_after_a_pause_hears_from_the_others_and_doubles_nothing() -> None:
    platform = pending()
    async with replicas(platform, 3) as members:
        await watch_in_turn(members, 0.3)
        await asyncio.sleep(5)
        holder = holder_among(members)
        holder.stop()
        platform.state = MOVED
        await asyncio.sleep(20)
        before = platform.entries_sent
        holder.resume()
        assert await until_seen(holder) <= TTL
        await asyncio.sleep(20)
        assert platform.entries_sent - before <= 11 * len(IDS)


def timing_out() -> LookupFailure:
    return TimedOut("no reply")


def locked_out() -> LookupFailure:
    return AccountLocked("locked")


@pytest.mark.parametrize("failing", [timing_out, locked_out])
@pytest.mark.parametrize("apart", [0.0, 0.3, 1.7])
def test_a_holder_that_gets_no_answer_from_the_platform_lets_another_replica_ask(
    failing: Callable[[], LookupFailure], apart: float
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with replicas(platform, 2) as members:
            await watch_in_turn(members, apart)
            await asyncio.sleep(5)
            holder = holder_among(members)
            (other,) = (each for each in members if each is not holder)
            holder.failing = failing
            for id_ in range(1000, 1010):
                await holder.engine.lookup([id_], False)
            # The circuit breaker is open, or the credentials are locked out.
            assert holder.engine.policy.blocked_by() is not None
            for state in (MOVED, "send", MOVED, "send", MOVED):
                await asyncio.sleep(11)
                platform.state = state
                assert await until_seen(other, state) <= 2 * TTL
                assert await until_seen(holder, state) <= TTL

    scenario()


@on_virtual_time
async def test_who_watches_with_detail_beside_a_holder_that_asks_without_has_it_at_once_and_keeps_it() -> None:
    platform = pending()
    async with replicas(platform, 2) as (bare, detailed):
        await bare.watch([1])
        await asyncio.sleep(5)
        started = loop().time()
        await detailed.watch([1], detail=True)
        assert loop().time() - started <= LATENCY + 0.01
        for state in (MOVED, "send", MOVED):
            assert holder_among([bare, detailed]) is bare
            platform.state = state
            started = loop().time()
            async with asyncio.timeout(60):
                while not detailed.watcher.snapshot(1).serves(detail=True) or detailed.state(1) != state:
                    await asyncio.sleep(0.01)
            assert loop().time() - started <= 2 * TTL + 0.2
            assert await until_seen(bare, state) <= TTL
            await asyncio.sleep(7)


@on_virtual_time
async def test_an_answer_that_the_holder_got_just_before_it_stopped_is_not_asked_for_again() -> None:
    platform = pending()
    async with replicas(platform, 2) as (one, other):
        await watch_in_turn([one, other], 0.06)
        before = platform.entries_sent
        await asyncio.sleep(2 - 0.02)
        assert platform.entries_sent - before == len(IDS)
        one.watcher.stop()
        await asyncio.sleep(1)
        assert holder_among([one, other]) is other
        assert platform.entries_sent - before == len(IDS)


@on_virtual_time
async def test_a_poll_cycle_takes_all_leases_and_reads_what_others_learned_in_one_round_trip() -> None:
    async with replicas(pending(), 1) as (one,):
        await one.watch(IDS)
        calls = one.connection.lease_calls
        for cycle in range(1, 6):
            await asyncio.sleep(TTL)
            assert one.connection.lease_calls == calls + cycle


@on_virtual_time
async def test_waits_that_begin_at_the_same_moment_share_round_trips_and_known_messages_cost_none() -> None:
    async with replicas(pending(), 1) as (one,):
        await asyncio.gather(*(one.watch([id_]) for id_ in IDS))
        assert one.connection.lease_calls == 2
        assert set(one.connection.leases) == set(IDS)
        await asyncio.gather(*(one.watch([id_]) for id_ in IDS))
        one.leases.held.clear()
        await asyncio.gather(*(one.watch([id_]) for id_ in IDS))
        assert one.connection.lease_calls == 2


@pytest.mark.parametrize("latency", [2.2, 3.1])
def test_a_lease_whose_poll_takes_longer_than_a_lifetime_is_kept(latency: float) -> None:
    @on_virtual_time
    async def scenario() -> None:
        sent = []
        for number in (1, 3):
            platform = pending()
            async with replicas(platform, number, attempt_timeout=10.0, deadline=20.0) as members:
                await watch_in_turn(members, 0.3)
                platform.latency = latency
                before = platform.entries_sent
                await asyncio.sleep(60)
                sent.append(platform.entries_sent - before)
        assert sent[1] <= sent[0] * 1.1

    scenario()


@on_virtual_time
async def test_where_leases_are_rejected_each_replica_asks_for_what_is_watched_on_it() -> None:
    platform = pending()
    async with replicas(platform, 3) as members:
        for each in members:
            each.connection.rejects_leases = True
        await watch_in_turn(members, 0.3)
        before = platform.entries_sent
        platform.state = MOVED
        for late in await asyncio.gather(*(until_seen(each) for each in members)):
            assert late <= TTL + 0.2
        await asyncio.sleep(20)
        assert platform.entries_sent - before >= 25 * len(IDS)
