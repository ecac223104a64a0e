"""Under a prefix: with one that the proxy removes, with one that it leaves, and under one that nobody told."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from app.telemetry.logs import ACCESS
from tests.support.platform import FakePlatform
from tests.support.service import service
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import WEBHOOK, WEBHOOK_TOKEN, stage

pytestmark = pytest.mark.anyio

KEY = "a-key-of-sixteen-characters"
WITH_KEY = {"X-API-Key": KEY}
BROWSER = {"Accept": "text/html"}
PREFIXES = ["", "/sms"]
"""What stands before the path when it reaches the service: nothing where the proxy removes the prefix."""


@pytest.fixture
async def prefixed(platform: FakePlatform) -> AsyncIterator[httpx.AsyncClient]:
    async with service(
        platform, root_path="/sms", api_keys=f"one:{KEY}", webhook_token=WEBHOOK_TOKEN, cors_origins="https://a.example"
    ) as client:
        yield client


@pytest.mark.parametrize("before", PREFIXES)
async def test_everything_is_found_and_checked_with_and_without_the_prefix(
    prefixed: httpx.AsyncClient, before: str
) -> None:
    assert (await prefixed.get(f"{before}/messages/82216/state")).status_code == 401
    assert (await prefixed.get(f"{before}/messages/82216/state", headers=WITH_KEY)).json()["id"] == 82216
    batch = await prefixed.post(f"{before}/messages/states", json={"ids": [82216]}, headers=WITH_KEY)
    assert batch.status_code == 200
    for path in ("/livez", "/readyz", "/openapi.json", "/docs", "/docs/docs.js", "/problems/", "/problems/overloaded"):
        assert (await prefixed.get(f"{before}{path}")).status_code == 200, path
    assert (await prefixed.post(f"{before}{WEBHOOK}", json=[])).json() == []
    for path in ("/sms/sms/docs", "/smsx/docs", "/sms//docs", "/sms/messagesx/sms/livez"):
        status = (await prefixed.get(path, headers=WITH_KEY)).status_code
        assert status == 404, path


@pytest.mark.parametrize("before", PREFIXES)
async def test_type_instance_redirect_and_server_carry_the_prefix(prefixed: httpx.AsyncClient, before: str) -> None:
    refused = (await prefixed.get(f"{before}/messages/0/state", headers=WITH_KEY)).json()
    assert (refused["type"], refused["instance"]) == ("/sms/problems/invalid-request", "/sms/messages/0/state")
    unknown = (await prefixed.get(f"{before}/nothing")).json()
    assert (unknown["type"], unknown["instance"]) == ("/sms/problems/route-not-found", "/sms/nothing")
    denied = (await prefixed.get(f"{before}/messages/1/state")).json()
    assert (denied["type"], denied["instance"]) == ("/sms/problems/unauthenticated", "/sms/messages/1/state")
    batch = await prefixed.post(f"{before}/messages/states", json={"ids": [82216, 1]}, headers=WITH_KEY)
    assert [each["type"] for each in batch.json()["problems"]] == ["/sms/problems/message-not-found"]
    for path in (f"{before}/", "/sms"):
        leads = await prefixed.get(path)
        assert (leads.status_code, leads.headers["location"]) == (307, "/sms/docs")
    explained = (await prefixed.get(f"{before}/problems/overloaded")).json()
    assert explained["type"] == "/sms/problems/overloaded"
    assert explained in (await prefixed.get(f"{before}/problems/")).json()["problems"]
    assert "/sms/problems/overloaded" in (await prefixed.get(f"{before}/problems/overloaded", headers=BROWSER)).text


async def test_the_document_has_the_prefix_in_its_server_and_its_examples(prefixed: httpx.AsyncClient) -> None:
    document = (await prefixed.get("/sms/openapi.json")).json()
    assert [each["url"] for each in document["servers"]] == ["/sms"]
    assert all(path.split("/")[1] != "sms" for path in document["paths"])
    shown = re.findall(r'"(?:type|instance)": "(/[^"]*)"', json.dumps(document))
    assert len(shown) > 50
    assert all(each.startswith("/sms/") for each in shown)


async def test_without_a_prefix_the_server_is_where_the_document_is(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert [each["url"] for each in document["servers"]] == ["."]


async def test_a_token_and_a_key_are_not_repeated_under_a_prefix(prefixed: httpx.AsyncClient) -> None:
    for before in PREFIXES:
        wrong = (await prefixed.post(f"{before}/webhooks/message-states/not-{WEBHOOK_TOKEN}", json=[])).json()
        assert wrong["instance"] == "/sms/webhooks/***"


async def test_labels_and_log_lines_name_the_route_without_the_prefix(
    prefixed: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", ACCESS):
        for before in PREFIXES:
            await prefixed.get(f"{before}/messages/82216/state", headers=WITH_KEY)
    routes = [fields["route"] for record in caplog.records if (fields := getattr(record, "fields", None))]
    assert routes == ["/messages/{id}/state"] * 2


@on_virtual_time
async def test_the_events_of_a_stream_carry_the_prefix() -> None:
    async with stage(FakePlatform(), root_path="/sms") as running:
        stream = running.listen("/sms/messages/states/events?id=1")
        await stream.task
    assert [data.get("type") for _, data in stream.events] == ["/sms/problems/message-not-found", None]


def links_of(text: str) -> list[str]:
    """Every link of a page or of the document's descriptions."""
    return re.findall(r'(?:href|src)="([^"#]+)"', text) + re.findall(r"\]\(([^)]+)\)", text)


@pytest.mark.parametrize("told", [None, "/sms"])
async def test_links_between_pages_work_under_every_prefix(platform: FakePlatform, told: str | None) -> None:
    async with service(platform, root_path=told) as client:
        for page in ("/docs", "/docs/runbook", "/problems/", "/problems/overloaded", "/openapi.json"):
            text = (await client.get(page, headers=BROWSER)).text
            links = set(links_of(text))
            assert len(links) >= 3, page
            for link in links:
                leads = urljoin(f"http://proxy/any/prefix{page}", link)
                assert leads.startswith("http://proxy/any/prefix/"), (page, link)
                found: Any = await client.get(leads.removeprefix("http://proxy/any/prefix"))
                assert found.status_code == 200, (page, link)
