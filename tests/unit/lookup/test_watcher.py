"""The hub between those who wait and the engine, and what its rounds cost the platform."""

import asyncio
import random

import pytest

from app.lookup.failures import CredentialsRejected, MessageNotFound, Overloaded, ServerError, Unreachable
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import MessageRecord
from app.lookup.subscriptions import Subscription
from app.lookup.watcher import Watcher
from tests.support.lookup import WHEN, PlatformInMemory, assert_nothing_left, hang
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import watcher_before


def state_of(watching: Watcher, id_: int) -> str | None:
    answer = watching.snapshot(id_).answer
    return answer.state if isinstance(answer, MessageRecord) else None


async def begin(watching: Watcher, *ids: int, detail: bool = False) -> Subscription:
    subscription = watching.subscribe(ids, detail)
    await watching.look_up(ids, detail)
    await subscription.changes(0)
    return subscription


async def until_delivered(watching: Watcher, id_: int) -> float:
    """A waiter: looks, waits for a change, and returns when it saw the delivery."""
    with watching.subscribe([id_], False) as subscription:
        await watching.look_up([id_], False)
        while state_of(watching, id_) != "deliver":
            assert await subscription.changes(60)
    return loop().time()


@on_virtual_time
async def test_two_thousand_waiters_on_five_hundred_messages_cost_an_entry_each_in_few_requests() -> None:
    platform = PlatformInMemory(state="send")
    engine, watching = watcher_before(platform)
    chance = random.Random(9)
    begun = loop().time()

    async def one(number: int) -> float:
        await asyncio.sleep(chance.uniform(0, 0.3))
        return await until_delivered(watching, 1 + number % 500)

    waiters = [asyncio.create_task(one(number)) for number in range(2000)]
    await asyncio.sleep(20.5)
    sent = list(platform.requests)
    platform.state = "deliver"
    changed_at = loop().time()
    seen_at = await asyncio.gather(*waiters)
    for turn in range(10):
        entries = sum(len(each.entries) for each in sent if begun + 2 * turn <= each.at < begun + 2 * turn + 2)
        requests = sum(begun + 2 * turn <= each.at < begun + 2 * turn + 2 for each in sent)
        assert entries <= 1.1 * 500
        # While the waiters come one by one their own lookups are requests as well.
        assert turn == 0 or requests <= 6
    assert max(seen_at) - changed_at <= 2.2
    await assert_nothing_left(engine)


@pytest.mark.parametrize("phase", [0.05, 0.3, 1.0, 1.7, 1.85, 1.89, 1.91, 1.95, 1.999])
def test_whenever_a_waiter_comes_and_whenever_the_state_changes_it_knows_within_a_life_and_200_ms(phase: float) -> None:
    @on_virtual_time
    async def scenario() -> None:
        for change in (0.02, 0.06, 0.12, 0.5, 1.0, 1.5, 2.0, 2.1):
            platform = PlatformInMemory(state="send")
            _, watching = watcher_before(platform)
            first = await begin(watching, 999)
            await asyncio.sleep(phase)
            waiter = asyncio.create_task(until_delivered(watching, 1))
            await asyncio.sleep(change)
            platform.state = "deliver"
            changed_at = loop().time()
            assert await waiter - changed_at <= 2.2
            first.close()

    scenario()


@on_virtual_time
async def test_with_a_report_of_the_platform_waiters_know_at_once_and_it_is_not_asked_more() -> None:
    platform = PlatformInMemory(state="send")
    engine, watching = watcher_before(platform)
    waiters = [asyncio.create_task(until_delivered(watching, 1)) for _ in range(100)]
    await asyncio.sleep(1)
    reported_at = loop().time()
    await engine.report([MessageRecord(1, "deliver", WHEN)])
    assert max(await asyncio.gather(*waiters)) == reported_at
    assert platform.entries_sent == 1


@on_virtual_time
async def test_another_callers_lookup_wakes_waiters_and_takes_the_next_round_from_the_platform() -> None:
    platform = PlatformInMemory(state="send")
    engine, watching = watcher_before(platform)
    subscription = await begin(watching, 1)
    await asyncio.sleep(1.95)
    platform.state = "partly_deliver"
    await engine.lookup([1], False, fresh=True)
    assert await subscription.changes(0) == [1]
    await asyncio.sleep(1)
    assert platform.count_of(1) == 2
    subscription.close()


@on_virtual_time
async def test_after_the_last_waiter_nothing_is_asked_any_more() -> None:
    platform = PlatformInMemory(state="send")
    engine, watching = watcher_before(platform)
    subscription = await begin(watching, 1)
    await asyncio.sleep(5)
    subscription.close()
    subscription.close()
    before = platform.entries_sent
    assert (watching.subscriptions.waiters, len(watching.subscriptions), watching.cycles) == (0, 0, 2)
    await assert_nothing_left(engine)
    assert platform.entries_sent == before == 3


@on_virtual_time
async def test_a_delivered_message_is_asked_for_as_seldom_as_its_kind_and_a_final_or_unknown_one_never() -> None:
    platform = PlatformInMemory(states={1: "deliver", 2: "read"}, unknown={3})
    _, watching = watcher_before(platform)
    subscription = await begin(watching, 1, 2, 3)
    sent = {id_: platform.count_of(id_) for id_ in (1, 2, 3)}
    await asyncio.sleep(185)
    assert platform.count_of(1) - sent[1] == 3
    assert [platform.count_of(id_) - sent[id_] for id_ in (2, 3)] == [0, 0]
    subscription.close()


@on_virtual_time
async def test_those_who_want_detail_and_those_who_do_not_share_requests_and_entries() -> None:
    platform = PlatformInMemory(state="send")
    _, watching = watcher_before(platform)
    ids = range(1, 11)
    plain, detailed = await begin(watching, *ids), await begin(watching, 1, 2, detail=True)
    platform.requests.clear()
    await asyncio.sleep(2.1)
    assert [sent.entries for sent in platform.requests] == [{id_: id_ in (1, 2) for id_ in ids}]
    plain.close()
    detailed.close()


@on_virtual_time
async def test_a_final_state_without_the_detail_that_somebody_wants_is_asked_for_once_more() -> None:
    platform = PlatformInMemory(state="send")
    engine, watching = watcher_before(platform)
    subscription = watching.subscribe([1], detail=True)
    await engine.report([MessageRecord(1, "read", WHEN)])
    platform.state = "read"
    assert not watching.snapshot(1).serves(detail=True)
    await asyncio.sleep(20)
    assert watching.snapshot(1).serves(detail=True)
    assert platform.count_of(1) == 1
    subscription.close()


@on_virtual_time
async def test_under_failures_waiters_are_told_of_each_kind_once_and_each_round_asks_again() -> None:
    platform = PlatformInMemory(state="send", failing=ServerError)
    _, watching = watcher_before(platform)
    subscription = watching.subscribe([1], False)
    told = []
    for _ in range(3):
        await subscription.changes(2.5)
        told.append(type(watching.snapshot(1).failure))
        if told[-1] is ServerError:
            platform.failing = Unreachable
    assert told[:2] == [ServerError, Unreachable]
    platform.failing = None
    while not watching.snapshot(1).answer:
        assert await subscription.changes(20)
    assert watching.snapshot(1).failure is None
    assert state_of(watching, 1) == "send"
    subscription.close()
    await asyncio.sleep(10)


@on_virtual_time
async def test_rejected_credentials_reach_waiters_although_nothing_is_asked() -> None:
    platform = PlatformInMemory(state="send", failing=CredentialsRejected)
    engine, watching = watcher_before(platform)
    await engine.lookup([2], False)
    sent = len(platform.requests)
    subscription = watching.subscribe([1], False)
    assert await subscription.changes(3) == [1]
    assert isinstance(watching.snapshot(1).failure, CredentialsRejected)
    assert len(platform.requests) == sent
    subscription.close()


@on_virtual_time
async def test_one_message_that_hangs_does_not_hold_up_the_others() -> None:
    platform = PlatformInMemory(state="send")
    _, watching = watcher_before(platform, batch_size=1)
    platform.latency = lambda: hang() if 7 in platform.requests[-1].entries else 0.03
    subscription = watching.subscribe([1, 7], False)
    await asyncio.sleep(10.5)
    assert platform.count_of(1) == 5
    assert platform.count_of(7) <= 5
    subscription.close()
    await asyncio.sleep(10)


@on_virtual_time
async def test_without_a_lifetime_of_pending_states_the_platform_is_asked_ten_times_a_second_at_most() -> None:
    platform = PlatformInMemory(state="send")
    lifetimes = Lifetimes(pending=0, delivered=0, final=0, not_found=0)
    _, watching = watcher_before(platform, lifetimes=lifetimes)
    subscription = watching.subscribe([1], False)
    await asyncio.sleep(5.01)
    assert 30 <= platform.count_of(1) <= 50
    subscription.close()
    await asyncio.sleep(10)


@on_virtual_time
async def test_more_waiters_than_there_may_be_are_refused_until_one_leaves() -> None:
    _, watching = watcher_before(PlatformInMemory(), max_waiters=4)
    one, two = watching.subscribe([1], False), watching.subscribe([1, 2], False)
    with pytest.raises(Overloaded):
        watching.subscribe([3], False)
    assert (watching.subscriptions.waiters, len(watching.subscriptions)) == (2, 2)
    one.close()
    watching.subscribe([3], False).close()
    two.close()


@on_virtual_time
async def test_when_the_service_stops_every_wait_ends_and_none_begins() -> None:
    engine, watching = watcher_before(PlatformInMemory(state="send"))
    subscription = await begin(watching, 1)
    waiting = asyncio.create_task(subscription.changes(600))
    await asyncio.sleep(0.1)
    watching.stop()
    assert await waiting == []
    assert subscription.over
    late = await begin(watching, 1)
    assert await late.changes(600) == []
    subscription.close()
    late.close()
    await watching.aclose()
    await assert_nothing_left(engine)


@on_virtual_time
async def test_closing_ends_a_round_that_is_on_its_way() -> None:
    engine, watching = watcher_before(PlatformInMemory(state="send", latency=hang))
    subscription = watching.subscribe([1], False)
    await asyncio.sleep(2.1)
    await watching.aclose()
    subscription.close()
    await assert_nothing_left(engine)


@on_virtual_time
async def test_what_waiters_saw_as_final_stays_also_where_the_cache_has_dropped_it() -> None:
    platform = PlatformInMemory(state="read")
    engine, watching = watcher_before(platform, max_entries=1)
    subscription = await begin(watching, 1)
    await engine.lookup([2], False)
    platform.state = "send"
    await engine.lookup([1], False)
    assert state_of(watching, 1) == "read"
    platform.unknown = {1}
    await engine.lookup([2], False)
    await engine.lookup([1], False)
    assert state_of(watching, 1) == "read"
    subscription.close()


@on_virtual_time
async def test_a_defect_in_a_round_is_logged_and_the_next_one_asks_again(caplog: pytest.LogCaptureFixture) -> None:
    engine, watching = watcher_before(PlatformInMemory(state="send"))
    subscription = watching.subscribe([1], False)
    works = engine.lookup

    async def breaks(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    engine.lookup = breaks  # type: ignore[method-assign,assignment]  # the defect
    await asyncio.sleep(2.5)
    assert "unhandled error" in caplog.text
    engine.lookup = works  # type: ignore[method-assign]  # as before
    assert await subscription.changes(2) == [1]
    subscription.close()
    await asyncio.sleep(10)


# --- the platform's own reports ---


@on_virtual_time
async def test_reports_settle_alike_in_any_order_and_however_often_they_come() -> None:
    later = WHEN.replace(hour=16)
    reports = [
        MessageRecord(1, "send"),
        MessageRecord(1, "partly_deliver", WHEN),
        MessageRecord(1, "deliver", WHEN),
        MessageRecord(1, "read", later),
    ]
    chance = random.Random(5)
    for _ in range(50):
        engine, _ = watcher_before(PlatformInMemory())
        order = [chance.choice(reports) for _ in range(4)] + chance.sample(reports, 4)
        chance.shuffle(order)
        await engine.report(order[:3])
        await engine.report(order[3:])
        found = await engine.lookup([1], False)
        assert found[1].answer == reports[-1]


@on_virtual_time
async def test_the_first_final_report_stays_and_a_report_makes_an_unknown_message_known() -> None:
    engine, _ = watcher_before(PlatformInMemory(unknown={1}))
    assert isinstance((await engine.lookup([1], False))[1].answer, MessageNotFound)
    await engine.report(
        [MessageRecord(1, "expired", WHEN), MessageRecord(1, "read", WHEN), MessageRecord(1, "expired")]
    )
    assert (await engine.lookup([1], False))[1].answer == MessageRecord(1, "expired", WHEN)


@on_virtual_time
async def test_a_report_keeps_the_parts_and_the_price_that_were_known() -> None:
    platform = PlatformInMemory(state="deliver")
    engine, _ = watcher_before(platform)
    await engine.lookup([1], True)
    await engine.report([MessageRecord(1, "read", WHEN)])
    found = (await engine.lookup([1], True))[1]
    assert found.answer == MessageRecord(1, "read", WHEN, 1, "10.6000000", detailed=True)
    assert platform.entries_sent == 1


@on_virtual_time
async def test_a_report_does_not_pass_off_an_unknown_price_as_asked_for() -> None:
    platform = PlatformInMemory(state="read")
    engine, _ = watcher_before(platform)
    engine._cache.put(1, MessageRecord(1, "send", None, 1, None, detailed=True))
    await engine.report([MessageRecord(1, "read", WHEN)])
    answer = (await engine.lookup([1], True))[1].answer
    assert isinstance(answer, MessageRecord)
    assert answer.price_per_part == "10.6000000"
