"""The sandbox's webhook, on virtual time, and against the service that it is made for."""

import asyncio
import json
import sys
from collections.abc import MutableMapping
from typing import Any

import httpx
import pytest
import uvicorn

from app.upstream.sandbox import TOKEN, URL, Sandbox, main
from app.upstream.sandbox_webhook import Application, Webhook, WithWebhook
from tests.support.platform import FakePlatform
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import WEBHOOK, stage

Entry = dict[str, object]


async def ask(sandbox: Application, *ids: int) -> None:
    body = json.dumps([{"token": TOKEN, "id_sms": id_, "detail": 0} for id_ in ids])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(sandbox)) as client:
        await client.post(URL, content=body, headers={"Content-Type": "text/json; charset=utf-8"})


class Receiver:
    """Takes the webhook, but for the first ``refusals`` deliveries, whose entries it leaves out."""

    def __init__(self, refusals: int = 0) -> None:
        self.refusals = refusals
        self.deliveries: list[list[Entry]] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._take)

    def _take(self, request: httpx.Request) -> httpx.Response:
        self.deliveries.append(json.loads(request.content))
        if len(self.deliveries) <= self.refusals:
            return httpx.Response(500, text="busy")
        return httpx.Response(200, json=[{"id_sms": int(str(each["id_sms"]))} for each in self.deliveries[-1]])


@on_virtual_time
async def test_each_change_of_a_message_that_was_asked_for_is_posted_once_as_documented() -> None:
    sandbox, receiver = Sandbox(clock=loop().time), Receiver()
    async with Webhook("http://service/hook", sandbox.progress, receiver.transport()):
        await asyncio.sleep(5)
        assert receiver.deliveries == []
        await ask(sandbox, 82217, 82216)
        await asyncio.sleep(40)
    entries = [entry for delivery in receiver.deliveries for entry in delivery]
    assert [(entry["id_sms"], entry["state"]) for entry in entries] == [
        ("82217", "send"),
        ("82217", "deliver"),
        ("82217", "read"),
    ]
    assert entries[0] == {"id_sms": "82217", "time": "", "state": "send"}
    assert len(str(entries[1]["time"])) == len("2021-04-26 15:15:03")


@on_virtual_time
async def test_what_is_not_taken_is_posted_five_times_and_then_given_up() -> None:
    sandbox, receiver = Sandbox(clock=loop().time), Receiver(refusals=5)
    async with Webhook("http://service/hook", sandbox.progress, receiver.transport()) as webhook:
        await ask(sandbox, 7)
        await asyncio.sleep(9.5)
        assert len(receiver.deliveries) == 5
        assert (webhook.posts, webhook.given_up) == (5, 1)
        # The next change is a report of its own.
        await asyncio.sleep(5)
        assert receiver.deliveries[-1][0]["state"] == "deliver"
        assert webhook.given_up == 1


@on_virtual_time
async def test_what_is_taken_late_is_not_posted_again() -> None:
    sandbox, receiver = Sandbox(clock=loop().time), Receiver(refusals=2)
    async with Webhook("http://service/hook", sandbox.progress, receiver.transport()) as webhook:
        await ask(sandbox, 7)
        await asyncio.sleep(9)
        assert (webhook.posts, webhook.given_up) == (3, 0)


@on_virtual_time
async def test_with_the_webhook_a_stream_hears_of_changes_that_no_round_could_have_brought() -> None:
    sandbox, platform = Sandbox(clock=loop().time), FakePlatform()
    platform.knows(7, state="send")
    async with (
        stage(platform, pending_ttl=3600, delivered_ttl=3600) as service,
        Webhook(f"http://service{WEBHOOK}", sandbox.progress, httpx.ASGITransport(service.app)),
    ):
        await ask(sandbox, 7)
        stream = service.listen("/messages/states/events?id=7")
        await stream.task
    assert [data["state"] for name, data in stream.events if name == "state"] == ["send", "deliver", "read"]
    assert len(platform.requests) <= 1


@on_virtual_time
async def test_alone_the_sandbox_posts_as_long_as_it_is_served() -> None:
    sandbox, receiver = Sandbox(clock=loop().time), Receiver()
    served = WithWebhook(sandbox, Webhook("http://service/hook", sandbox.progress, receiver.transport()))
    asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    told: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        told.append(message["type"])

    living = asyncio.create_task(served({"type": "lifespan"}, asked.get, send))
    asked.put_nowait({"type": "lifespan.startup"})
    await ask(served, 7)
    await asyncio.sleep(1)
    assert told == ["lifespan.startup.complete"]
    assert len(receiver.deliveries) == 1
    asked.put_nowait({"type": "lifespan.shutdown"})
    await living
    assert told[1:] == ["lifespan.shutdown.complete"]


def test_an_option_makes_the_sandbox_post(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[object, str]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, lifespan, **_: served.append((app, lifespan)))
    monkeypatch.setattr(sys, "argv", ["sandbox", "--webhook", "http://127.0.0.1:8000/hook"])
    main()
    assert isinstance(served[0][0], WithWebhook)
    assert served[0][1] == "on"
