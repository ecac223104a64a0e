"""Waits and streams of a real process: over sockets, and at its end."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform
from tests.support.running import Running, running
from tests.support.watching import WEBHOOK, WEBHOOK_TOKEN

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(platform: FakePlatform, tmp_path: Path) -> AsyncIterator[Running]:
    """A service that asks seldom, before a platform that knows message 1 as pending."""
    platform.knows(1, state="send")
    variables = {"UPSTREAM_TOKEN": TOKEN, "WEBHOOK_TOKEN": WEBHOOK_TOKEN, "PENDING_TTL": "30", "MAX_WAITERS": "4"}
    async with platform.serve() as url, running({"UPSTREAM_URL": url, **variables}, tmp_path) as started:
        yield started


@pytest.fixture
async def client(service: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, base_url=service.url, timeout=30) as started:
        yield started


async def report(client: httpx.AsyncClient, state: str, id_: int = 1) -> float:
    """The platform's webhook. Returns how long its answer took."""
    begun = time.monotonic()
    entry = {"id_sms": str(id_), "time": "2021-04-26 15:15:03", "state": state}
    answer = await client.post(WEBHOOK, json=[entry])
    assert answer.json() == [{"id_sms": id_}]
    return time.monotonic() - begun


async def events_of(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))
        elif line.startswith("retry: "):
            yield "retry", int(line.removeprefix("retry: "))


async def test_a_report_reaches_waits_and_streams_within_200_ms(
    platform: FakePlatform, client: httpx.AsyncClient
) -> None:
    # The quickest of a few: a busy machine may be late with each.
    ids = (1, 2, 3, 4, 5)
    platform.knows(*ids, state="send")
    seconds = [await reaches_everybody(client, id_) for id_ in ids]
    assert min(answered for answered, _ in seconds) < 0.2
    assert min(heard for _, heard in seconds) < 0.2


async def reaches_everybody(client: httpx.AsyncClient, id_: int) -> tuple[float, float]:
    """A report that a wait and a stream are for. Returns when it was answered, and when both had it, in seconds."""
    wait = asyncio.create_task(client.get(f"/messages/{id_}/state?wait=30"))
    async with client.stream("GET", f"/messages/states/events?id={id_}") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = events_of(response)
        assert (await anext(events))[1]["state"] == "send"
        # The wait's own request may still be on its way.
        await asyncio.sleep(0.3)
        begun = time.monotonic()
        taken = await report(client, "read", id_)
        assert (await anext(events))[1]["state"] == "read"
        assert (await anext(events))[0] == "end"
        assert (await wait).json()["state"] == "read"
        seconds = time.monotonic() - begun
        assert [event async for event in events] == []
    return taken, seconds


async def test_callers_that_hang_up_make_room_at_once(client: httpx.AsyncClient) -> None:
    for path in ("/messages/1/state?wait=30", "/messages/states/events?id=1"):
        leaving = [asyncio.create_task(client.get(path)) for _ in range(3)]  # one caller's share
        # Time for all to arrive; whoever asks in between would take a place.
        await asyncio.sleep(0.5)
        assert (await client.get("/messages/1/state?wait=1")).status_code == 503
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        async with asyncio.timeout(10):
            while (await client.get("/messages/1/state?wait=1")).status_code == 503:
                pass


async def test_sigterm_ends_waits_and_streams_early_and_the_log_never_shows_the_token(
    service: Running, client: httpx.AsyncClient
) -> None:
    await report(client, "deliver", id_=2)
    await client.post(f"{WEBHOOK}x", json=[])
    await client.get(WEBHOOK)
    etag = (await client.get("/messages/1/state")).headers["etag"]
    wait = asyncio.create_task(client.get("/messages/1/state?wait=50", headers={"If-None-Match": etag}))
    async with client.stream("GET", "/messages/states/events?id=1") as response:
        events = events_of(response)
        assert (await anext(events))[1]["state"] == "send"
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        service.send(signal.SIGTERM)
        name, milliseconds = await anext(events)
        assert name == "retry"
        assert 1000 <= milliseconds <= 5000
        assert [event async for event in events] == []
        unchanged = await wait
        assert (unchanged.status_code, unchanged.headers["connection"]) == (304, "close")
    assert await service.ended() == 0
    assert time.monotonic() - begun < 15
    assert "Traceback" not in service.text
    assert "/webhooks/message-states/{token}" in service.text
    assert WEBHOOK_TOKEN not in service.text
