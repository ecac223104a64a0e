"""The event stream: ``GET /messages/states/events``, section 5 of the contract, on virtual time."""

import asyncio
import re

import httpx
import pytest

from tests.support.platform import FakePlatform
from tests.support.service import assert_problem
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import Listener, stage

EVENTS = "/messages/states/events"


def states(listener: Listener) -> list[tuple[int, str]]:
    return [(data["id"], data["state"]) for name, data in listener.events if name == "state"]


@on_virtual_time
async def test_a_stream_tells_each_state_at_the_start_and_each_change_and_ends_when_all_are_settled() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    platform.knows(2, state="read")
    async with stage(platform) as service:
        single = (await service.client.get("/messages/2/state")).content
        stream = service.listen(f"{EVENTS}?id=1&id=2&id=3&id=2")
        await asyncio.sleep(1)
        assert stream.status == 200
        assert stream.answer_headers["content-type"].startswith("text/event-stream")
        assert stream.answer_headers["cache-control"] == "no-store, no-transform"
        assert stream.answer_headers["x-accel-buffering"] == "no"
        assert [(name, data["id"]) for name, data in stream.events] == [("state", 1), ("state", 2), ("problem", 3)]
        assert b"event: state\ndata: " + single + b"\n\n" in stream.body
        assert stream.events[2][1] == {
            "id": 3,
            "type": "/problems/message-not-found",
            "title": "Message not found",
            "status": 404,
            "detail": "The platform does not know message 3.",
        }
        platform.knows(1, state="deliver")
        changed_at = loop().time()
        await asyncio.sleep(3)
        assert states(stream) == [(1, "send"), (2, "read"), (1, "deliver")]
        assert stream.timed_events[-1][0] - changed_at <= 2.2
        platform.knows(1, state="read")
        await stream.task
    assert states(stream)[3:] == [(1, "read")]
    assert stream.body.endswith(b"event: end\nid: end\ndata: {}\n\n")
    assert stream.body.count(b"event: end") == 1
    # The unknown one and the final one were asked for at the start alone.
    assert sum(2 in request.ids for request in platform.requests) <= 2


@on_virtual_time
async def test_after_the_end_a_reconnect_gets_204_and_any_other_last_event_id_the_stream() -> None:
    platform = FakePlatform()
    platform.knows(1, state="read")
    async with stage(platform) as service:
        again = await service.client.get(f"{EVENTS}?id=1", headers={"Last-Event-ID": "end"})
        assert (again.status_code, again.content, platform.requests) == (204, b"", [])
        other = await service.client.get(f"{EVENTS}?id=1", headers={"Last-Event-ID": "7"})
        assert other.text.startswith("event: state\n")


@on_virtual_time
async def test_a_comment_comes_every_fifteen_seconds_and_nothing_else_while_nothing_changes() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    async with stage(platform) as service:
        stream = service.listen(f"{EVENTS}?id=1")
        began = loop().time()
        await asyncio.sleep(61)
        comments = [at - began for at, chunk in stream.chunks if chunk.startswith(b":")]
        assert comments == pytest.approx([15, 30, 45, 60], abs=0.1)
        assert len(stream.events) == 1
        await stream.hang_up()
        assert service.watching.subscriptions.waiters == 0


@on_virtual_time
async def test_a_problem_is_told_once_while_it_lasts_and_not_at_all_where_a_state_is_known() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, state="send")
    async with stage(platform) as service:
        await service.client.get("/messages/1/state")
        platform.always = httpx.ConnectError("refused")
        stream = service.listen(f"{EVENTS}?id=1&id=2")
        await asyncio.sleep(7)
        told = [(name, data["id"], data.get("type")) for name, data in stream.events]
        assert told == [("problem", 2, "/problems/upstream-unreachable"), ("state", 1, None)] or told == [
            ("state", 1, None),
            ("problem", 2, "/problems/upstream-unreachable"),
        ]
        platform.always = None
        await asyncio.sleep(60)
        assert (2, "send") in states(stream)
        assert states(stream).count((1, "send")) == 1
        await stream.hang_up()


@on_virtual_time
async def test_with_detail_a_change_that_the_webhook_reports_comes_with_detail() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    async with stage(platform) as service:
        plain, detailed = service.listen(f"{EVENTS}?id=1"), service.listen(f"{EVENTS}?id=1&detail=true")
        await asyncio.sleep(1)
        platform.knows(1, state="read")
        await service.webhook({"id_sms": "1", "time": "2021-04-26 15:15:03", "state": "read"})
        await asyncio.gather(plain.task, detailed.task)
    assert states(plain) == states(detailed) == [(1, "send"), (1, "read")]
    assert [data["parts"] for name, data in plain.events if name == "state"] == [None, None]
    assert detailed.events[1][1]["parts"] == 1


@on_virtual_time
async def test_a_stop_closes_streams_with_a_hint_to_come_back_at_a_random_time() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    drawn = iter([1000.0, 4999.6])
    bounds = []

    def draw(low: float, high: float) -> float:
        bounds.append((low, high))
        return next(drawn)

    async with stage(platform, jitter=draw) as service:
        stream = service.listen(f"{EVENTS}?id=1")
        await asyncio.sleep(1)
        service.watching.stop()
        await stream.task
        assert stream.body.endswith(b"retry: 1000\n\n")
        assert b"event: end" not in stream.body
        late = service.listen(f"{EVENTS}?id=1")
        await late.task
        assert states(late) == [(1, "send")]
        assert late.body.endswith(b"retry: 4999\n\n")
    assert bounds == [(1000, 5000)] * 2


@on_virtual_time
async def test_a_drain_ends_a_stream_without_a_problem_for_a_message_that_is_known() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, state="send")
    async with stage(platform) as service:
        # Known, but no longer good, or without the detail that is wanted.
        await service.client.get("/messages/1/state")
        await asyncio.sleep(10)
        await service.client.get("/messages/2/state")
        service.watching.stop()
        await service.app.state.service.engine.aclose()
        for path in (f"{EVENTS}?id=1", f"{EVENTS}?id=2&detail=true"):
            stream = service.listen(path)
            await stream.task
            assert stream.events == []
            assert re.fullmatch(rb"retry: [1-5][0-9]{3}\n\n", stream.body)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "id=",
        "id=0",
        "id=1&id=x",
        "id=01",
        "detail=true",
        "id=1&detail=maybe",
        "&".join(f"id={n}" for n in range(1, 102)),
    ],
)
def test_what_is_no_list_of_one_to_a_hundred_ids_is_refused(query: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with stage(FakePlatform()) as service:
            assert_problem(await service.client.get(f"{EVENTS}?{query}"), 422, "invalid-request")

    scenario()


@on_virtual_time
async def test_a_hundred_ids_may_be_watched_also_where_some_stand_there_twice() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 101), state="read")
    async with stage(platform) as service:
        query = "&".join(f"id={n}" for n in [*range(1, 101), *range(1, 51)])
        stream = service.listen(f"{EVENTS}?{query}")
        await stream.task
    assert [id_ for id_, _ in states(stream)] == list(range(1, 101))
    assert len(platform.requests) == 1


@on_virtual_time
async def test_each_id_of_a_stream_counts_towards_the_quota_and_a_key_is_needed_where_there_are_keys() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 9), state="read")
    key = "planted-key-4be1f0"
    async with stage(platform, rate_limit=4, api_keys=f"page:{key}") as service:
        query = "&".join(f"id={n}" for n in range(1, 9))
        assert_problem(await service.client.get(f"{EVENTS}?{query}"), 401, "unauthenticated")
        named = {"X-API-Key": key}
        assert (await service.client.get(f"{EVENTS}?{query}", headers=named)).status_code == 200
        assert_problem(await service.client.get(f"{EVENTS}?{query}", headers=named), 429, "rate-limited")
        again = await service.client.get(f"{EVENTS}?{query}", headers=named | {"Last-Event-ID": "end"})
        assert again.status_code == 204


@on_virtual_time
async def test_a_page_of_an_allowed_origin_may_read_the_stream() -> None:
    platform = FakePlatform()
    platform.knows(1, state="read")
    async with stage(platform, cors_origins="https://shop.example") as service:
        answer = await service.client.get(f"{EVENTS}?id=1", headers={"Origin": "https://shop.example"})
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


@on_virtual_time
async def test_a_stream_counts_as_one_waiter_and_is_refused_like_one() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, state="send")
    async with stage(platform, max_waiters=1) as service:
        stream = service.listen(f"{EVENTS}?id=1&id=2")
        await asyncio.sleep(1)
        assert (service.watching.subscriptions.waiters, len(service.watching.subscriptions)) == (1, 2)
        assert_problem(await service.client.get(f"{EVENTS}?id=1"), 503, "overloaded")
        await stream.hang_up()


@on_virtual_time
async def test_a_caller_that_leaves_before_the_first_event_is_let_go() -> None:
    platform = FakePlatform()
    platform.before = lambda _: asyncio.sleep(3600)
    async with stage(platform) as service:
        stream = service.listen(f"{EVENTS}?id=1")
        await asyncio.sleep(0.2)
        assert service.watching.subscriptions.waiters == 1
        await stream.hang_up()
        assert service.watching.subscriptions.waiters == 0
        await asyncio.sleep(10)
