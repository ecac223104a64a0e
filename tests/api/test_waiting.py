"""The long poll: ``GET /messages/{id}/state?wait=25``, section 5 of the contract, on virtual time."""

import asyncio

import httpx
import pytest

from app.main import create_app
from tests.support.platform import FakePlatform, Received, refused
from tests.support.service import assert_problem, settings_for
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import stage

ID = 82216


def pending(*ids: int) -> FakePlatform:
    platform = FakePlatform()
    platform.knows(*(ids or (ID,)), state="send")
    return platform


async def after(seconds: float, platform: FakePlatform, state: str) -> None:
    await asyncio.sleep(seconds)
    platform.knows(ID, state=state)


@on_virtual_time
async def test_a_pending_message_is_answered_as_soon_as_it_is_not_pending_any_more() -> None:
    platform = pending()
    async with stage(platform) as service:
        change = asyncio.create_task(after(7.3, platform, "deliver"))
        response, seconds = await service.wait(ID)
        await change
    assert (response.status_code, response.json()["state"]) == (200, "deliver")
    assert 7.3 <= seconds <= 7.3 + 2.2
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["etag"]
    assert response.headers["vary"] == "Origin, Authorization, X-API-Key"


@pytest.mark.parametrize("state", ["deliver", "read", "not_deliver", "invented"])
def test_what_is_not_pending_is_answered_at_once(state: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.knows(ID, state=state)
        async with stage(platform) as service:
            response, seconds = await service.wait(ID)
        assert (response.status_code, response.json()["state"], seconds) == (200, state, 0)

    scenario()


@on_virtual_time
async def test_when_the_time_is_up_the_current_state_is_the_answer_also_if_it_is_another_pending_one() -> None:
    platform = pending()
    async with stage(platform) as service:
        change = asyncio.create_task(after(3, platform, "partly_deliver"))
        response, seconds = await service.wait(ID, 10)
        await change
    assert (response.status_code, response.json()["state"]) == (200, "partly_deliver")
    assert seconds == pytest.approx(10)


@on_virtual_time
async def test_with_an_etag_any_other_state_is_the_answer() -> None:
    platform = pending()
    async with stage(platform) as service:
        etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
        change = asyncio.create_task(after(3, platform, "partly_deliver"))
        response, seconds = await service.wait(ID, If_None_Match=f"W/{etag}")
        await change
        assert (response.status_code, response.json()["state"]) == (200, "partly_deliver")
        assert 3 <= seconds <= 5.2
        assert response.headers["etag"] != etag
        late, seconds = await service.wait(ID, If_None_Match=etag)
        assert (late.status_code, seconds) == (200, 0)


@pytest.mark.parametrize("known", ["the etag", "*"])
def test_with_an_etag_that_stays_the_answer_is_304_when_the_time_is_up(known: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with stage(pending()) as service:
            etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
            response, seconds = await service.wait(ID, 5, If_None_Match=etag if known == "the etag" else known)
        assert (response.status_code, response.content) == (304, b"")
        assert (response.headers["etag"], response.headers["cache-control"]) == (etag, "no-store")
        assert seconds == pytest.approx(5)

    scenario()


@on_virtual_time
async def test_with_the_etag_of_a_final_state_the_304_comes_at_once() -> None:
    platform = FakePlatform()
    platform.knows(ID, state="read")
    async with stage(platform) as service:
        etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
        response, seconds = await service.wait(ID, If_None_Match=etag)
    assert (response.status_code, seconds) == (304, 0)


@on_virtual_time
async def test_a_delivered_message_can_be_waited_for_until_it_is_read() -> None:
    platform = FakePlatform()
    platform.knows(ID)
    async with stage(platform, delivered_ttl=6, delivered_ttl_max=6) as service:
        etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
        change = asyncio.create_task(after(1, platform, "read"))
        response, seconds = await service.wait(ID, If_None_Match=etag)
        await change
    assert response.json()["state"] == "read"
    assert 1 <= seconds <= 6.2


@on_virtual_time
async def test_the_etag_is_that_of_the_same_detail() -> None:
    platform = FakePlatform()
    platform.knows(ID)
    async with stage(platform) as service:
        etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
        answer = await service.client.get(f"/messages/{ID}/state?wait=25&detail=true", headers={"If-None-Match": etag})
        assert (answer.status_code, answer.json()["parts"]) == (200, 1)
        known = await service.client.get(f"/messages/{ID}/state?detail=true")
        assert known.headers["etag"] == answer.headers["etag"]


@on_virtual_time
async def test_an_unknown_message_is_told_at_once_and_not_kept() -> None:
    async with stage(FakePlatform()) as service:
        response, seconds = await service.wait(ID)
    assert_problem(response, 404, "message-not-found")
    assert (response.headers["cache-control"], seconds) == ("no-store", 0)


@pytest.mark.parametrize(
    ("text", "status", "slug"),
    [
        ("Incorrect login or password", 502, "upstream-credentials-rejected"),
        ("Your account is locked", 503, "upstream-account-locked"),
    ],
)
def test_rejected_credentials_are_told_at_once_at_the_start_and_in_the_middle(
    text: str, status: int, slug: str
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with stage(platform) as service:
            waiting = asyncio.create_task(service.wait(ID))
            await asyncio.sleep(3)
            platform.always = refused(text)
            response, seconds = await waiting
            assert_problem(response, status, slug)
            assert "retry-after" in response.headers
            assert seconds <= 4.1
            response, seconds = await service.wait(ID)
            assert_problem(response, status, slug)
            assert seconds == 0

    scenario()


@on_virtual_time
async def test_other_failures_are_waited_out() -> None:
    platform = pending()
    platform.always = httpx.ConnectError("refused")
    async with stage(platform) as service:
        waiting = asyncio.create_task(service.wait(ID))
        await asyncio.sleep(4.5)
        platform.always = None
        platform.knows(ID)
        response, seconds = await waiting
    assert (response.status_code, response.json()["state"]) == (200, "deliver")
    assert seconds <= 4.5 + 2.2


@on_virtual_time
async def test_when_the_time_is_up_under_failures_the_last_known_state_is_the_answer_or_else_the_problem() -> None:
    platform = pending()
    async with stage(platform) as service:
        waiting = asyncio.create_task(service.wait(ID, 20))
        await asyncio.sleep(1)
        platform.always = httpx.ConnectError("refused")
        response, seconds = await waiting
        assert (response.status_code, response.json()["state"]) == (200, "send")
        assert seconds == pytest.approx(20)
        assert int(response.headers["age"]) >= 18
        await asyncio.sleep(30)
        response, seconds = await service.wait(ID, 7)
        assert response.status_code in (502, 503)
        assert 7 <= seconds <= 7.1


@on_virtual_time
async def test_a_hundred_waiters_of_one_message_cost_one_entry_a_poll_cycle() -> None:
    platform = pending()
    async with stage(platform) as service:
        answers = await asyncio.gather(*(service.wait(ID, 9) for _ in range(100)))
    assert {response.status_code for response, _ in answers} == {200}
    assert len(platform.requests) == 5
    assert all(request.ids == [ID] for request in platform.requests)


@on_virtual_time
async def test_no_cache_asks_the_platform_before_the_wait_begins() -> None:
    platform = pending()
    async with stage(platform) as service:
        await service.client.get(f"/messages/{ID}/state")
        platform.knows(ID)
        response, seconds = await service.wait(ID, Cache_Control="no-cache")
    assert (response.json()["state"], seconds) == ("deliver", 0)


@pytest.mark.parametrize("wait", ["-1", "51", "1.0", "+5", "%205", "5%20", "", "x", "true", "1e1", "٢", "0x1"])
def test_what_is_no_whole_number_of_seconds_up_to_fifty_is_refused(wait: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with stage(platform) as service:
            document = assert_problem(
                await service.client.get(f"/messages/{ID}/state?wait={wait}"), 422, "invalid-request"
            )
        assert [error["parameter"] for error in document["errors"]] == ["wait"]
        assert platform.requests == []

    scenario()


@on_virtual_time
async def test_a_wait_of_zero_is_none() -> None:
    async with stage(pending()) as service:
        response, seconds = await service.wait(ID, 0)
        assert (response.status_code, seconds) == (200, 0)
        assert response.headers["cache-control"] == "private, max-age=2"
        response, seconds = await service.wait(ID, 50)
        assert seconds == pytest.approx(50)


@on_virtual_time
async def test_a_caller_that_hangs_up_is_let_go_at_once_whatever_it_waits_for() -> None:
    platform = pending()
    async with stage(platform) as service:
        caller = service.listen(f"/messages/{ID}/state?wait=50")
        await asyncio.sleep(3)
        assert service.watching.subscriptions.waiters == 1
        await caller.hang_up()
        assert service.watching.subscriptions.waiters == 0
        asked = len(platform.requests)
        await asyncio.sleep(20)
        assert len(platform.requests) == asked

        async def hangs(_: Received) -> None:
            await asyncio.sleep(3600)

        platform.before = hangs
        caller = service.listen("/messages/7/state?wait=50")
        await asyncio.sleep(0.5)
        caller._gone.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert service.watching.subscriptions.waiters == 0
        await caller.task


@on_virtual_time
async def test_more_waiters_than_there_may_be_are_told_to_come_back() -> None:
    async with stage(pending(), max_waiters=1) as service:
        first = service.listen(f"/messages/{ID}/state?wait=5")
        await asyncio.sleep(0.1)
        response, seconds = await service.wait(ID)
        assert_problem(response, 503, "overloaded")
        assert (response.headers["retry-after"], seconds) == ("1", 0)
        await first.task


@on_virtual_time
async def test_a_stop_ends_waits_with_the_current_state_or_304() -> None:
    async with stage(pending()) as service:
        etag = (await service.client.get(f"/messages/{ID}/state")).headers["etag"]
        waits = [
            asyncio.create_task(service.wait(ID, 50)),
            asyncio.create_task(service.wait(ID, 50, If_None_Match=etag)),
        ]
        await asyncio.sleep(1)
        service.watching.stop()
        (state, seconds), (unchanged, _) = await asyncio.gather(*waits)
        assert (state.status_code, state.json()["state"]) == (200, "send")
        assert unchanged.status_code == 304
        assert seconds == pytest.approx(1)
        late, seconds = await service.wait(ID, 50)
        assert (late.status_code, seconds) == (200, 0)


@on_virtual_time
async def test_metrics_and_log_know_waits_apart_from_lookups() -> None:
    async with stage(pending()) as service:
        caller = service.listen(f"/messages/{ID}/state?wait=9")
        await asyncio.sleep(5)
        registry = service.app.state.service.metrics.registry
        assert registry.get_sample_value("message_state_waiters") == 1
        assert registry.get_sample_value("message_state_watched_ids") == 1
        assert registry.get_sample_value("message_state_watch_rounds_total") == 2
        await caller.task
        count = "message_state_http_request_duration_seconds_count"
        labels = {"route": "/messages/{id}/state?wait", "method": "GET", "status": "200"}
        assert registry.get_sample_value(count, labels) == 1
        assert registry.get_sample_value("message_state_waiters") == 0


@on_virtual_time
async def test_a_wait_that_is_cut_off_by_the_end_of_the_service_leaves_no_task() -> None:
    platform = pending()
    app = create_app(settings_for(), transport=platform.transport(), clock=loop().time)
    async with app.router.lifespan_context(app):
        watching = app.state.service.watcher
        subscription = watching.subscribe([ID], False)
        await asyncio.sleep(2.0)
    assert subscription.over
    subscription.close()
