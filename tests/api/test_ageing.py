"""A state that lasts is trusted longer: what a message whose phone is off costs, and how late a change is seen."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tests.support.platform import FakePlatform
from tests.support.scraping import Scrape
from tests.support.service import assert_problem
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import Stage, stage

HOUR = 3600
MOSCOW = ZoneInfo("Europe/Moscow")
STATE = "/messages/1/state"
FIRST_HOUR, LATER_HOUR, WITHOUT_GROWTH = 105, 62, 1800


def pending(**more: object) -> FakePlatform:
    """A platform that knows message 1, whose phone is off."""
    platform = FakePlatform()
    platform.knows(1, state="send", **more)
    return platform


def local(seconds: float) -> str:
    """A second of the wall clock as the platform writes it."""
    return datetime.fromtimestamp(seconds, MOSCOW).strftime("%Y-%m-%d %H:%M:%S")


async def entries_of_each_hour(platform: FakePlatform, hours: int) -> list[int]:
    """Entries that the platform was sent in each of the next hours."""
    counts, before = [], 0
    for _ in range(hours):
        await asyncio.sleep(HOUR)
        counts.append(len(platform.requests) - before)
        before = len(platform.requests)
    return counts


async def poll(service: Stage, seconds: float) -> None:
    """A page that asks again and again; thousands of times, so it begins where the request has been read."""
    while True:
        await service.app.state.service.engine.lookup([1], False)
        await asyncio.sleep(seconds)


@on_virtual_time
async def test_a_pending_message_that_is_watched_costs_few_entries_an_hour() -> None:
    platform = pending()
    async with stage(platform) as service:
        stream = service.listen("/messages/states/events?id=1")
        first, *later = await entries_of_each_hour(platform, 3)
        assert FIRST_HOUR - 10 < first <= FIRST_HOUR
        assert all(LATER_HOUR - 5 < each <= LATER_HOUR for each in later)
        assert service.watching.saved == pytest.approx(3 * WITHOUT_GROWTH - first - sum(later), abs=5)
        scrape = Scrape.of(service.app.state.service.metrics.registry)
        assert scrape.value("saved_entries_total", by="ageing") == service.watching.saved
        await stream.hang_up()


@on_virtual_time
async def test_a_pending_message_that_is_polled_costs_as_few() -> None:
    platform = pending()
    async with stage(platform) as service:
        page = asyncio.create_task(poll(service, 1.9))
        (first, later) = await entries_of_each_hour(platform, 2)
        assert FIRST_HOUR / 2 < first <= FIRST_HOUR
        assert LATER_HOUR - 5 < later <= LATER_HOUR
        # Without growth every second poll would be asked of the platform.
        saved = Scrape.of(service.app.state.service.metrics.registry).value("saved_entries_total", by="ageing")
        assert saved == pytest.approx(2 * HOUR / (2 * 1.9) - first - later, rel=0.05)
        page.cancel()
        await asyncio.wait([page])


@on_virtual_time
async def test_a_message_that_is_polled_out_of_step_and_watched_costs_as_few() -> None:
    platform = pending()
    async with stage(platform) as service:
        stream = service.listen("/messages/states/events?id=1&detail=true")
        pages = [asyncio.create_task(poll(service, seconds)) for seconds in (3.7, 11.3)]
        first, later = await entries_of_each_hour(platform, 2)
        assert first <= FIRST_HOUR
        assert later <= LATER_HOUR
        for page in pages:
            page.cancel()
        await asyncio.wait(pages)
        await stream.hang_up()


@on_virtual_time
async def test_with_the_maximum_equal_to_the_lifetime_nothing_grows() -> None:
    platform = pending()
    async with stage(platform, pending_ttl_max=2) as service:
        stream = service.listen("/messages/states/events?id=1")
        assert await entries_of_each_hour(platform, 1) == [WITHOUT_GROWTH]
        assert service.watching.saved == 0
        await stream.hang_up()


@pytest.mark.parametrize("lasted", [0, 100, 300, 1000])
def test_a_change_is_seen_at_most_a_lifetime_late_by_watchers_and_begins_anew(lasted: float) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with stage(platform) as service:
            stream = service.listen("/messages/states/events?id=1")
            await asyncio.sleep(lasted + 1.3)
            platform.knows(1, state="partly_deliver")
            changed_at = loop().time()
            while len(stream.events) < 2:
                await asyncio.sleep(0.1)
            assert loop().time() - changed_at <= min(max(2.0, lasted / 10), 60) + 2.2
            asked = len(platform.requests)
            await asyncio.sleep(10.1)
            assert len(platform.requests) - asked == 5
            await stream.hang_up()

    scenario()


@on_virtual_time
async def test_the_webhook_brings_a_change_at_once_and_begins_anew() -> None:
    platform = pending()
    async with stage(platform) as service:
        stream = service.listen("/messages/states/events?id=1")
        await asyncio.sleep(1000)
        asked = len(platform.requests)
        platform.knows(1, state="partly_deliver")
        await service.webhook({"id_sms": "1", "time": "2021-04-26 15:15:03", "state": "partly_deliver"})
        await asyncio.sleep(0)
        assert [data["state"] for _, data in stream.events] == ["send", "partly_deliver"]
        await asyncio.sleep(10.1)
        assert len(platform.requests) - asked >= 4
        await stream.hang_up()


@on_virtual_time
async def test_callers_are_told_the_lifetime_without_growth_and_the_age_and_no_cache_asks_at_once() -> None:
    platform = pending()
    async with stage(platform) as service:
        for _ in range(12):
            await service.client.get(STATE)
            await asyncio.sleep(50)
        await service.client.get(STATE, headers={"Cache-Control": "no-cache"})
        asked = len(platform.requests)
        await asyncio.sleep(42.9)
        old = await service.client.get(STATE)
        assert (old.headers["cache-control"], old.headers["age"]) == ("private, max-age=2", "42")
        assert old.headers["cache-status"] == "message-state; hit"
        # The same where it is not this process's memory that has it.
        found = (await service.app.state.service.engine.lookup([1], False))[1]
        assert found.lifetime == 2 < found.ttl
        assert len(platform.requests) == asked
        anew = await service.client.get(STATE, headers={"Cache-Control": "no-cache"})
        assert (anew.headers["cache-control"], anew.headers["age"]) == ("private, max-age=2", "0")
        assert len(platform.requests) == asked + 1
        assert old.headers["etag"] == anew.headers["etag"]


@pytest.mark.parametrize(
    ("state", "max_age", "lasted", "good_for"), [("partly_deliver", 2, 400, 40), ("deliver", 60, 4000, 400)]
)
def test_the_age_counts_from_the_time_of_the_change_also_at_first_sight(
    state: str, max_age: int, lasted: float, good_for: float
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        now = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
        platform = FakePlatform()
        platform.knows(1, state=state, time_change_state=local(now - lasted))
        async with stage(platform, wall_clock=lambda: now) as service:
            first = await service.client.get(STATE)
            assert first.headers["cache-control"] == f"private, max-age={max_age}"
            await asyncio.sleep(good_for - 0.1)
            assert (await service.client.get(STATE)).headers["age"] == str(int(good_for - 0.1))
            await asyncio.sleep(0.2)
            assert (await service.client.get(STATE)).headers["cache-status"] == "message-state; fwd=miss"

    scenario()


@pytest.mark.parametrize("ahead", [timedelta(hours=12), timedelta(days=40_000)])
def test_a_platform_whose_clock_is_ahead_is_asked_as_if_the_change_were_now(ahead: timedelta) -> None:
    @on_virtual_time
    async def scenario() -> None:
        now = datetime(2026, 11, 26, 12, tzinfo=UTC)
        platform = FakePlatform()
        platform.knows(1, state="partly_deliver", time_change_state=local((now + ahead).timestamp()))
        async with stage(platform, wall_clock=now.timestamp) as service:
            stream = service.listen("/messages/states/events?id=1")
            assert (await entries_of_each_hour(platform, 1))[0] <= FIRST_HOUR
            await stream.hang_up()

    scenario()


@on_virtual_time
async def test_a_wall_clock_that_steps_all_the_time_changes_nothing() -> None:
    steps = iter([1e9, -1e9, 0.0, 3.6e6] * 10_000)
    platform = pending()
    async with stage(platform, wall_clock=lambda: next(steps)) as service:
        stream = service.listen("/messages/states/events?id=1")
        first, later = await entries_of_each_hour(platform, 2)
        assert FIRST_HOUR - 10 < first <= FIRST_HOUR
        assert later <= LATER_HOUR
        await stream.hang_up()


@pytest.mark.parametrize("text", [None, "The message is archived"])
def test_an_unknown_id_and_an_error_text_for_one_id_age_like_a_pending_state(text: str | None) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        if text is not None:
            platform.entries[1] = {"error": text}
        async with stage(platform, not_found_ttl=3) as service:
            page = asyncio.create_task(poll(service, 1))
            first, later = await entries_of_each_hour(platform, 2)
            assert 60 < first <= FIRST_HOUR
            assert later <= LATER_HOUR
            slug = "message-not-found" if text is None else "upstream-rejected"
            assert_problem(await service.client.get(STATE), 404 if text is None else 502, slug)
            platform.knows(1, state="send")
            await asyncio.sleep(61)
            assert (await service.client.get(STATE)).json()["state"] == "send"
            page.cancel()
            await asyncio.wait([page])

    scenario()


@on_virtual_time
async def test_a_message_with_an_error_text_that_is_watched_sits_out_poll_cycles_as_well() -> None:
    platform = FakePlatform()
    platform.entries[1] = {"error": "The message is archived"}
    async with stage(platform) as service:
        stream = service.listen("/messages/states/events?id=1")
        first, later = await entries_of_each_hour(platform, 2)
        assert FIRST_HOUR - 10 < first <= FIRST_HOUR
        assert later <= LATER_HOUR
        await stream.hang_up()
