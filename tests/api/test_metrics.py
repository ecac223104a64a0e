"""What the metrics say after known traffic, and that nothing a caller or the platform invents becomes a series."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from app.lookup.policy import RetryBudget
from app.telemetry.metrics import PREFIX
from tests.support.platform import FakePlatform, Reply, refused, reply
from tests.support.running import free_port
from tests.support.scale import scaled
from tests.support.scraping import Scrape, scrape
from tests.support.service import service

pytestmark = pytest.mark.anyio

BASE_UNITS = ("_seconds", "_bytes", "_ratio")
"""The base units that this service needs (prometheus.io, "Metric and label naming")."""
OTHER_UNITS = re.compile(r"_(ms|us|millis|micros|minutes|hours|kb|mb|percent|milliseconds)(_|$)")
MANY = scaled(300, 50)
STANDARD = re.compile(r"process_\w+")
"""The names of Prometheus' own process metrics, which tools expect as they are."""


def mistakes(families: Scrape) -> list[str]:
    """Where names break the conventions of Prometheus."""
    found = []
    for family in families.families:
        name, labels = family.name, {label for sample in family.samples for label in sample.labels}
        if not name.startswith(f"{PREFIX}_") and not STANDARD.fullmatch(name):
            found.append(f"{name}: has no prefix")
        if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
            found.append(f"{name}: is not snake case")
        if OTHER_UNITS.search(name):
            found.append(f"{name}: has another unit than the base unit")
        if family.type == "counter" and name.endswith(("_count", "_total_total")):
            found.append(f"{name}: says twice that it counts")
        if family.type == "gauge" and name.endswith("_total"):
            found.append(f"{name}: is a gauge that looks like a counter")
        if family.type == "histogram" and not name.endswith((*BASE_UNITS, "_entries")):
            found.append(f"{name}: measures in no unit")
        if family.type == "unknown":
            found.append(f"{name}: has no type")
        if len(family.documentation) < 10:
            found.append(f"{name}: does not say what it is")
        if any(label in name.removeprefix(PREFIX).split("_") for label in labels - {"le", "state"}):
            found.append(f"{name}: repeats a label")
    return found


async def test_names_and_units_follow_the_conventions(client: httpx.AsyncClient) -> None:
    await client.get("/messages/82216/state")
    assert mistakes(scrape(client)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# TYPE other_seconds gauge\nother_seconds 1\n", "has no prefix"),
        ("# TYPE message_state_Odd gauge\nmessage_state_Odd 1\n", "snake case"),
        ("# TYPE message_state_wait_ms gauge\nmessage_state_wait_ms 1\n", "another unit"),
        ("# TYPE message_state_seen_total gauge\nmessage_state_seen_total 1\n", "looks like a counter"),
        ("message_state_seen 1\n", "has no type"),
        ("# TYPE message_state_seen gauge\nmessage_state_seen 1\n", "does not say what it is"),
        ('# TYPE message_state_route_size gauge\nmessage_state_route_size{route="/"} 1\n', "repeats a label"),
        ('# TYPE message_state_wait histogram\nmessage_state_wait_bucket{le="1"} 1\n', "measures in no unit"),
    ],
)
def test_the_rule_notices_a_bad_name(text: str, complaint: str) -> None:
    assert complaint in " ".join(mistakes(Scrape(text)))


async def test_requests_are_counted_by_route_template_method_and_status(client: httpx.AsyncClient) -> None:
    await client.get("/messages/82216/state")
    await client.get("/messages/0/state")
    await client.post("/messages/states", json={"ids": [82216]})
    await client.get("/nowhere")
    seen = scrape(client)
    count = "http_request_duration_seconds_count"
    route = "/messages/{id}/state"
    assert seen.value(count, route=route, method="GET", status="200") == 1
    assert seen.value(count, route=route, method="GET", status="422") == 1
    assert seen.value(count, route="/messages/states", method="POST", status="200") == 1
    assert seen.value(count, route="unmatched", status="404") == 1
    assert seen.value(count) == 4


async def test_problems_are_counted_by_route_template_and_slug(client: httpx.AsyncClient) -> None:
    for path in ("/messages/0/state", "/messages/5/state", "/messages/6/state", "/nowhere", "/messages/82216/state"):
        await client.get(path)
    seen = scrape(client)
    route = "/messages/{id}/state"
    assert seen.value("http_problems_total", route=route, problem="message-not-found") == 2
    assert seen.value("http_problems_total", route=route, problem="invalid-request") == 1
    assert seen.value("http_problems_total", route="unmatched", problem="route-not-found") == 1
    assert seen.value("http_problems_total") == 4


async def test_lookups_are_counted_by_where_the_answer_came_from(client: httpx.AsyncClient) -> None:
    await client.get("/messages/82216/state")
    await client.get("/messages/82216/state")
    await client.post("/messages/states", json={"ids": [82216, 5]})
    seen = scrape(client)
    sources = {source: seen.value("lookups_total", source=source) for source in ("cache", "upstream", "joined")}
    assert sources == {"cache": 2, "upstream": 2, "joined": 0}
    assert seen.value("lookup_failures_total", problem="message-not-found") == 1
    assert seen.value("cache_entries") == 2


async def test_upstream_requests_are_counted_by_result_with_their_entries(platform: FakePlatform) -> None:
    platform.script.extend([refused("never heard of"), Reply(b"<html>"), Reply(status=302)])
    async with service(platform) as client:
        for id_ in (1, 2, 3):
            await client.get(f"/messages/{id_}/state")
        platform.knows(*range(10, 17))
        await client.post("/messages/states", json={"ids": list(range(10, 17))})
        seen = scrape(client)
    count = "upstream_request_duration_seconds_count"
    slugs = ("upstream-rejected", "upstream-invalid-reply", "upstream-error", "ok")
    assert {slug: seen.value(count, result=slug) for slug in slugs} == dict.fromkeys(slugs, 1)
    assert seen.value("upstream_request_entries_sum") == 10
    assert seen.value("upstream_request_entries_bucket", le="5.0") == 3
    assert seen.value("lookup_failures_total", problem="upstream-rejected") == 1


async def test_retries_made_and_refused_are_counted(platform: FakePlatform) -> None:
    platform.always = Reply(status=500)
    async with service(platform) as client:
        await client.get("/messages/1/state")
        assert scrape(client).value("upstream_retries_total", decision="made") == 1
        assert scrape(client).value("upstream_retries_total", decision="refused") == 0
        budget: RetryBudget = client._transport.app.state.service.engine.policy.retry_budget  # type: ignore[attr-defined]  # the transport of this client holds our app
        while budget.take():
            """Spend it."""
        assert scrape(client).value("upstream_retries_total", decision="refused") == 1


async def test_the_circuits_state_can_be_seen(platform: FakePlatform) -> None:
    platform.always = Reply(b"not JSON")
    async with service(platform) as client:
        assert scrape(client).value("circuit_state", state="closed") == 1
        for id_ in range(1, 11):
            await client.get(f"/messages/{id_}/state")
        seen = scrape(client)
        await client.get("/messages/99/state")
        after = scrape(client)
    states = {state: seen.value("circuit_state", state=state) for state in ("closed", "open", "half-open")}
    assert states == {"closed": 0, "open": 1, "half-open": 0}
    assert after.value("lookup_failures_total", problem="upstream-unavailable") == 1
    assert after.value("lookups_total", source="refused") == 1


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Incorrect login or password", "upstream-credentials-rejected"),
        ("Your account is locked", "upstream-account-locked"),
    ],
)
async def test_the_lockout_can_be_seen_with_its_reason(platform: FakePlatform, text: str, slug: str) -> None:
    platform.always = refused(text)
    async with service(platform) as client:
        assert scrape(client).value("latch_held") == 0
        await client.get("/messages/1/state")
        seen = scrape(client)
    assert seen.value("latch_held", reason=slug) == 1
    assert seen.value("latch_held") == 1


async def test_batching_that_is_off_can_be_seen(platform: FakePlatform) -> None:
    platform.knows(*range(1, 9))
    async with service(platform) as client:
        assert scrape(client).value("batching_enabled") == 1
        platform.always = lambda request: reply([{"id_sms": request.ids[0], "state": "read"}])
        await client.post("/messages/states", json={"ids": list(range(1, 9))})
        seen = scrape(client)
    assert seen.value("batching_enabled") == 0
    assert seen.value("lookups_total", source="upstream") == 8


async def test_undocumented_states_and_unreadable_fields_are_counted(platform: FakePlatform) -> None:
    platform.knows(1, 2, state="delayed")
    platform.knows(3, price="dear")
    async with service(platform) as client:
        await client.post("/messages/states", json={"ids": [1, 2, 3], "detail": True})
        seen = scrape(client)
    assert seen.value("undocumented_states_total") == 2
    assert seen.value("unreadable_fields_total", field="price") == 1


async def test_evictions_are_counted(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3)
    async with service(platform, cache_max_entries=2) as client:
        await client.post("/messages/states", json={"ids": [1, 2, 3]})
        seen = scrape(client)
    assert (seen.value("cache_entries"), seen.value("cache_evictions_total")) == (2, 1)


async def test_round_trips_to_the_shared_cache_are_counted_by_outcome(platform: FakePlatform) -> None:
    async with service(platform, cache_url=f"redis://127.0.0.1:{free_port()}/0") as client:
        seen = scrape(client)
    assert seen.value("cache_request_duration_seconds_count", operation="connect", outcome="connection") == 1


async def test_queued_ids_and_requests_in_flight_can_be_seen_while_they_last(platform: FakePlatform) -> None:
    seen: list[Scrape] = []

    async def look(_: object) -> None:
        seen.append(scrape(client))

    platform.before = look
    async with service(platform, upstream_batch_size=2, upstream_max_in_flight=1) as client:
        await client.post("/messages/states", json={"ids": [1, 2, 3, 4, 5]})
        after = scrape(client)
    assert (seen[0].value("queued_ids"), seen[0].value("upstream_in_flight")) == (3, 1)
    assert (after.value("queued_ids"), after.value("upstream_in_flight")) == (0, 0)


async def test_ids_that_the_queue_does_not_take_are_counted_as_refused_and_overloaded(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3)
    async with service(platform, max_queued_ids=2) as client:
        await client.post("/messages/states", json={"ids": [1, 2, 3]})
        seen = scrape(client)
    assert seen.value("lookup_failures_total", problem="overloaded") == 1
    assert seen.value("lookups_total", source="refused") == 1


async def test_who_waits_and_who_is_refused_can_be_seen_by_the_names_of_keys(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3, 4, state="send")
    keys = {name: f"planted-key-of-{name}" for name in ("shop", "crm")}
    async with service(
        platform, api_keys=",".join(f"{name}:{key}" for name, key in keys.items()), max_waiters=4, rate_limit=3
    ) as client:
        headers = {name: {"X-API-Key": key} for name, key in keys.items()}
        waits = [
            asyncio.create_task(client.get(f"/messages/{id_}/state?wait=50", headers=headers["shop"]))
            for id_ in (1, 2, 3)
        ]
        while scrape(client).value("waited_messages", caller="shop") < 3:
            await asyncio.sleep(0)
        events = "/messages/states/events?"
        assert (await client.get("/messages/4/state?wait=1", headers=headers["shop"])).status_code == 503
        assert (await client.get(events + "id=1&id=2", headers=headers["crm"])).status_code == 503
        assert [(await client.get("/messages/1/state", headers=headers["shop"])).status_code for _ in range(3)][
            -1
        ] == 429
        seen = scrape(client)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        after = scrape(client)
    assert seen.value("refused_waits_total", caller="shop", limit="caller") == 1
    assert seen.value("refused_waits_total", caller="crm", limit="all") == 2
    assert seen.value("refused_waits_total") == 3
    assert seen.value("rate_limited_total", caller="shop") >= 1
    assert seen.value("rate_limited_total", caller="crm") == 0
    assert (after.value("waited_messages"), after.value("refused_waits_total", caller="address")) == (0, 0)


async def test_addresses_are_one_caller_in_the_metrics(platform: FakePlatform) -> None:
    settings: dict[str, Any] = {"rate_limit": 0.5, "trusted_proxies": "127.0.0.0/8"}
    async with service(platform, **settings) as client:
        for number in range(20):
            for _ in range(2):
                await client.get("/messages/1/state", headers={"X-Forwarded-For": f"192.0.2.{number}:{5000 + number}"})
        seen = scrape(client)
    assert seen.value("rate_limited_total", caller="address") == seen.value("rate_limited_total") == 20


async def test_nothing_that_callers_or_the_platform_invent_becomes_a_series(platform: FakePlatform) -> None:
    async def once(turn: str, ids: range) -> None:
        for number, id_ in enumerate(ids):
            platform.knows(id_, state=f"state-{turn}-{number}")
            await client.get(f"/messages/{id_}/state", headers={"X-Request-ID": f"{turn}-{number}"})
            await client.get(f"/{turn}/{number}")
            await client.request(f"M{turn}{number}", "/messages/states")
            await client.get(f"/problems/{turn}-{number}")

    async with service(platform) as client:
        await once("first", range(999, 1000))
        before = scrape(client).series()
        await once("then", range(1000, 1000 + MANY))
        after = scrape(client)
    assert after.series() == before
    assert after.value("http_request_duration_seconds_count", method="other") == MANY + 1
    assert after.value("undocumented_states_total") == MANY + 1
