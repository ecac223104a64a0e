"""What takes time or memory: callers that leave, that send too much ahead, that read nothing; and the end."""

import asyncio
import gc
import logging
import signal
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.server.refusals import Limits
from tests.door.case import SHORT, batch, chunked, get, request
from tests.support.door import Door, RawCaller, at_the_door, until
from tests.support.listening import a_few_turns
from tests.support.platform import FakePlatform, Received
from tests.support.running import running

pytestmark = pytest.mark.anyio

KIB = 1024
POLL = get("/messages/82217/state?wait=50")
STREAM = get("/messages/states/events?id=82217")
PADDED = get("/livez", f"X-Padding: {'x' * 900}")
"""A request of 1 KB: much input takes few of them."""
MANY = 90


def waiters(door: Door) -> int:
    return int(door.app.state.service.watcher.subscriptions.waiters)


# Leaving.


ENDS: dict[str, tuple[bytes, int]] = {
    "a request": (get(), 1),
    "three": (get("/messages/82216/state") * 3, 3),
    "a batch": (batch(), 1),
    "a wait": (POLL, 0),
    "a stream": (STREAM, 0),
    "nonsense": (b"no request\r\n\r\n", 1),
    "half a request": (get()[:20], 0),
    "an upgrade": (get("/livez", "Upgrade: h2c", "Connection: Upgrade"), 1),
    "HTTP/1.0": (get(version="1.0"), 1),
    "nothing": (b"", 0),
}
"""What is sent, and how many answers are read before the caller leaves."""


@pytest.mark.parametrize(("sent", "answers"), ENDS.values(), ids=ENDS.keys())
async def test_a_connection_that_has_ended_leaves_the_garbage_collector_nothing(sent: bytes, answers: int) -> None:
    async with at_the_door(SHORT) as door:
        gc.disable()
        try:
            async with door.caller() as caller:
                await until(lambda: door.connections)
                connection = weakref.ref(door.connections[0])
                await caller.send(sent)
                for _ in range(answers):
                    await caller.reply()
            # It lets go within a few iterations, or when nobody reads on for a last moment (SHORT.linger_seconds).
            await until(lambda: connection() is None)
        finally:
            gc.enable()


async def _close(caller: RawCaller) -> None:
    await caller.close()


async def _half_close(caller: RawCaller) -> None:
    caller.half_close()


async def _reset(caller: RawCaller) -> None:
    caller.writer.transport.abort()


@pytest.mark.parametrize("leave", [_close, _half_close, _reset])
@pytest.mark.parametrize(
    "before",
    [POLL, STREAM, get() + POLL, get() + batch() + POLL, POLL + get(), POLL + POLL + POLL, batch()[:-5], get()[:20]],
    ids=[
        "a long poll",
        "a stream",
        "a long poll behind a request",
        "a long poll behind a batch",
        "a request behind a long poll",
        "long polls behind a long poll",
        "half a body",
        "half a head",
    ],
)
async def test_whoever_leaves_is_let_go_with_all_its_requests(
    before: bytes, leave: Callable[[RawCaller], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with at_the_door() as door, door.caller() as caller:
        await caller.send(before)
        if b"82217" in before:
            await until(lambda: waiters(door) == 1)
        await leave(caller)
        await until(lambda: not door.connections and not door.server.server_state.tasks)
        assert waiters(door) == 0
        assert door.server.all_connections.unread == 0
    assert [each for each in caplog.records if each.levelno >= logging.WARNING or each.exc_info] == []


async def test_a_caller_that_leaves_in_the_middle_of_its_body_is_no_mistake() -> None:
    async with at_the_door() as door, door.caller() as caller:
        await caller.send(batch()[:-5])
        await caller.close()
        await until(
            lambda: (
                door.metric("http_request_duration_seconds_count", route="/messages/states", method="POST", status="0")
                == 1
            )
        )
        assert door.metric("http_problems_total", route="/messages/states", problem="invalid-request") == 0


# Reading ahead.


async def test_while_a_request_is_unanswered_one_read_more_is_taken_and_all_is_answered_in_order(
    platform: FakePlatform,
) -> None:
    release = asyncio.Event()

    async def wait(_: Received) -> None:
        await release.wait()

    platform.before = wait
    async with at_the_door(platform=platform) as door, door.caller() as caller:
        await caller.send(get("/messages/82216/state"))
        await until(lambda: platform.requests)
        sending = asyncio.create_task(caller.send(*([PADDED * MANY] * 3), get(host=None)))
        await until(lambda: door.server.all_connections.unread)
        for _ in range(100):
            await a_few_turns()
        assert door.server.all_connections.unread <= 256 * KIB
        release.set()
        assert (await caller.reply()).document["id"] == 82216
        for _ in range(3 * MANY):
            await caller.reader.readuntil(b'{"status":"alive"}')
        await sending
        assert (await caller.reply()).slug == "malformed-request"
        assert await caller.rest() == b""


async def test_a_refusal_waits_for_the_answer_before_it(platform: FakePlatform) -> None:
    release = asyncio.Event()

    async def wait(_: Received) -> None:
        await release.wait()

    platform.before = wait
    async with at_the_door(SHORT, platform) as door, door.caller() as caller:
        await caller.send(get("/messages/82216/state") + b"\0", b"x" * 100)
        await asyncio.sleep(2 * SHORT.head_seconds)
        assert door.connections
        release.set()
        assert (await caller.reply()).status == 200
        assert (await caller.reply()).slug == "malformed-request"
        assert await caller.rest() == b""


async def test_half_a_request_behind_a_long_poll_lives_and_has_its_time_from_its_own_turn_on(
    platform: FakePlatform,
) -> None:
    platform.knows(82217, state="send")
    async with at_the_door(SHORT, platform) as door, door.caller() as caller:
        await caller.send(get("/messages/82217/state?wait=1") + get()[:20])
        answer = await caller.reply()
        assert answer.status == 200
        await caller.send(get()[20:])
        assert (await caller.reply()).document == {"status": "alive"}


async def test_a_slow_upload_that_moves_lives(platform: FakePlatform) -> None:
    async with at_the_door(replace(SHORT, head_seconds=5, body_seconds=5), platform) as door, door.caller() as caller:
        request_ = batch()
        for at in range(0, len(request_), 20):
            await caller.send(request_[at : at + 20])
            await asyncio.sleep(0.05)
        assert (await caller.reply()).status == 200


# Memory.

REQUESTS = 40
SMALL_ROOM = replace(SHORT, input_bytes=800 * KIB, stuck_seconds=0.2, head_seconds=60, body_seconds=60)


async def test_all_connections_together_hold_a_bounded_input_and_small_requests_are_answered_meanwhile(
    platform: FakePlatform,
) -> None:
    release = asyncio.Event()

    async def wait(received: Received) -> None:
        if received.ids == [5]:
            await release.wait()

    platform.before = wait
    platform.knows(5)
    limits = replace(SMALL_ROOM, stuck_seconds=60, reply_seconds=60, idle_seconds=60)
    most = 0
    async with at_the_door(limits, platform) as door, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(door.caller()) for _ in range(30)]
        sending = [asyncio.create_task(each.send(get("/messages/5/state") + PADDED * REQUESTS)) for each in callers]
        await until(lambda: door.server.all_connections.full)
        async with door.caller() as small:
            for _ in range(3):
                await small.send(get())
                assert (await small.reply()).status == 200
                most = max(most, door.server.all_connections.unread)
        assert most <= limits.input_bytes
        release.set()
        for caller in callers:
            assert (await caller.reply()).document["id"] == 5
            for _ in range(REQUESTS):
                await caller.reader.readuntil(b'{"status":"alive"}')
                most = max(most, door.server.all_connections.unread)
        assert most <= limits.input_bytes
        await asyncio.gather(*sending, *(each.close() for each in callers))
        await until(lambda: not door.connections)
        assert (door.server.all_connections.unread, door.server.all_connections.full) == (0, False)


async def test_new_connections_do_not_go_beyond_the_bound() -> None:
    limits = replace(SMALL_ROOM, input_bytes=8 * 1024 * KIB, stuck_seconds=60)
    head = request("POST", "/messages/states", "Content-Type: application/json", "Content-Length: 1000000")
    most = 0
    async with at_the_door(limits) as door, AsyncExitStack() as stack:
        for _ in range(120):
            caller = await stack.enter_async_context(door.caller())
            caller.writer.write(head + b"[" * 250 * KIB)
            await a_few_turns()
            most = max(most, door.server.all_connections.unread)
        assert door.server.all_connections.full
        assert most <= limits.input_bytes


async def test_a_body_that_is_thrown_away_takes_no_room() -> None:
    async with at_the_door() as door, door.caller() as caller:
        await caller.send(request("GET", "/messages/states/events?id=82217", f"Content-Length: {2**40}"))
        await until(lambda: waiters(door) == 1)
        for _ in range(100):
            await caller.send(b"x" * 64 * KIB)
        assert door.server.all_connections.unread <= 1200 * KIB
        assert waiters(door) == 1


async def test_input_that_does_not_move_makes_room() -> None:
    async with at_the_door(SMALL_ROOM) as door, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(door.caller()) for _ in range(30)]
        head = request("POST", "/messages/states", "Content-Type: application/json", "Content-Length: 1000000")
        sending = [asyncio.create_task(each.send(head, b"[" * 300 * KIB)) for each in callers]
        await until(lambda: door.server.all_connections.full)
        await until(lambda: not door.server.all_connections.full)
        assert door.metric("http_connections_closed_total", limit="input-bytes") >= 1
        labels = {"route": "/messages/states", "problem": "overloaded"}
        await until(lambda: door.metric("http_problems_total", **labels) >= 1)
        async with door.caller() as caller:
            assert await caller.is_open()
        for each in callers:
            each.writer.transport.abort()
        await asyncio.gather(*sending)


# Replies.


async def test_a_reply_that_nobody_takes_ends_the_connection(platform: FakePlatform) -> None:
    platform.knows(*range(1, 1001))
    body = b'{"ids":[' + b",".join(b"%d" % id_ for id_ in range(1, 1001)) + b"]}"
    async with at_the_door(SHORT, platform) as door, door.caller(receive_buffer=4096) as caller:
        caller.stop_reading()
        await caller.send(*([batch(body=body)] * 60))
        await until(lambda: door.metric("http_connections_closed_total", limit="reply") == 1)
        await until(lambda: not door.connections and not door.server.server_state.tasks)


async def test_a_reply_that_is_taken_slowly_is_sent_whole(platform: FakePlatform) -> None:
    platform.knows(*range(1, 1001))
    body = b'{"ids":[' + b",".join(b"%d" % id_ for id_ in range(1, 1001)) + b"]}"
    async with at_the_door(SHORT, platform) as door, door.caller(receive_buffer=4096) as caller:
        await caller.send(*([batch(body=body)] * 10))
        begun = time.monotonic()
        for _ in range(10):
            assert len((await caller.reply()).document["states"]) == 1000
            await asyncio.sleep(0.1)
        assert time.monotonic() - begun > 2 * SHORT.reply_seconds
        assert door.metric("http_connections_closed_total", limit="reply") == 0


async def test_http_10_gets_a_stream_without_chunks(platform: FakePlatform) -> None:
    platform.knows(82213, state="not_deliver")
    async with at_the_door(platform=platform) as door, door.caller() as caller:
        await caller.send(get("/messages/states/events?id=82213", version="1.0"))
        reply = await caller.reply()
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["connection"] == "close"
        assert reply.body.startswith(b"event: state\ndata: {")
        assert reply.body.endswith(b"event: end\nid: end\ndata: {}\n\n")


async def test_an_answer_before_the_body_was_read_arrives_though_the_caller_goes_on_sending() -> None:
    async with at_the_door() as door, door.caller() as caller:
        head = request("POST", "/messages/states", "Content-Type: application/json", f"Content-Length: {2**40}")
        await caller.send(head, b"x" * 512 * KIB)
        reply = await caller.reply()
        assert (reply.slug, reply.headers["connection"]) == ("request-too-large", "close")
        assert await caller.rest() == b""


async def test_after_the_last_answer_at_most_so_much_is_read_on() -> None:
    async with at_the_door(replace(SHORT, linger_seconds=60)) as door, door.caller() as caller:
        await caller.send(get(host=None))
        assert (await caller.reply()).status == 400
        await caller.send(*([b"x" * 128 * KIB] * 16))
        await until(lambda: not door.connections)
        assert door.metric("http_connections_closed_total", limit="linger") == 1


async def test_after_the_last_answer_input_is_read_on_for_so_long() -> None:
    async with at_the_door(SHORT) as door, door.caller() as caller:
        await caller.send(get(host=None))
        assert (await caller.reply()).status == 400
        await until(lambda: not door.connections)
        assert door.metric("http_connections_closed_total", limit="linger") == 1


# Refusals are answers like all others.


async def test_a_refusal_is_told_to_pages_metrics_and_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    origin = "Origin: https://shop.example"
    trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with at_the_door(cors_origins="https://shop.example") as door, door.caller() as caller:
        await caller.send(get("/messages/5/state", origin, trace, "X-Request-ID: abc", "Host: two"))
        reply = await caller.reply()
        assert reply.document["instance"] == "/messages/5/state"
        assert reply.document["request_id"] == reply.headers["x-request-id"] == "abc"
        assert reply.headers["access-control-allow-origin"] == "https://shop.example"
        assert reply.headers["vary"] == "Origin"
        assert reply.headers["connection"] == "close"
        async with door.caller() as other:
            await other.send(b"\0")
            assert (await other.reply()).headers["vary"] == "Origin"
        await until(lambda: door.metric("http_problems_total", route="unmatched", problem="malformed-request") == 2)
        assert door.metric("http_request_duration_seconds_count", route="unmatched", method="GET", status="400") == 1
        assert door.metric("http_request_duration_seconds_count", route="unmatched", method="other", status="400") == 1
    lines = [vars(each)["fields"] for each in caplog.records if each.name == "app.access"]
    assert [line["status"] for line in lines] == [400, 400]
    assert (lines[0]["request_id"], lines[0]["trace_id"]) == ("abc", "0af7651916cd43dd8448eb211c80319c")
    assert lines[0]["problem"] == "malformed-request"


async def test_a_preflight_that_is_malformed_is_refused() -> None:
    async with at_the_door(cors_origins="https://shop.example") as door, door.caller() as caller:
        fields = ("Origin: https://shop.example", "Access-Control-Request-Method: GET", "Host: two")
        await caller.send(request("OPTIONS", "/messages/5/state", *fields))
        assert (await caller.reply()).status == 400


async def test_a_request_whose_body_is_late_has_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with at_the_door(SHORT) as door, door.caller() as caller:
        await caller.send(chunked()[:-9])
        reply = await caller.reply()
        assert reply.slug == "request-timeout"
        assert await caller.rest() == b""
        assert door.metric("http_connections_closed_total", limit="body-seconds") == 1
        await until(lambda: not door.server.server_state.tasks)
    (line,) = [vars(each)["fields"] for each in caplog.records if each.name == "app.access"]
    assert (line["route"], line["method"], line["status"]) == ("/messages/states", "POST", 408)
    assert line["request_id"] == reply.document["request_id"]


async def test_a_refused_head_request_has_no_body() -> None:
    async with at_the_door() as door, door.caller() as caller:
        await caller.send(request("HEAD", "/livez", host=None))
        assert (await caller.reply("HEAD")).status == 400
        assert await caller.rest() == b""


# The operating system.


async def test_connections_are_probed_by_the_operating_system() -> None:
    async with at_the_door() as door, door.caller() as caller:
        assert await caller.is_open()
        (connection,) = door.connections
        assert connection.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_the_defaults_are_what_the_interface_promises() -> None:
    limits = Limits()
    assert (limits.head_bytes, limits.head_fields) == (64 * KIB, 100)
    assert (limits.head_seconds, limits.body_seconds, limits.idle_seconds, limits.reply_seconds) == (10, 30, 75, 30)
    assert (limits.linger_bytes, limits.linger_seconds, limits.input_bytes) == (1024 * KIB, 1, 64 * 1024 * KIB)


# The end.


async def test_a_drain_does_not_wait_for_half_a_request(tmp_path: Path) -> None:
    async with running({"UPSTREAM_URL": "sandbox:", "SHUTDOWN_GRACE": "30"}, tmp_path) as service:
        port = int(service.url.rpartition(":")[2])
        callers = [RawCaller(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(2)]
        await callers[0].send(batch()[:-5])
        await callers[1].send(get()[:20])
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        service.send(signal.SIGTERM)
        for caller in callers:
            assert (await caller.reply()).slug == "overloaded"
        assert await service.ended(within=10) == 0
        assert time.monotonic() - begun < 10
        assert "Traceback" not in service.text
        assert "ERROR" not in service.text.upper().replace("INTERNAL-ERROR", "")
        for caller in callers:
            await caller.close()
