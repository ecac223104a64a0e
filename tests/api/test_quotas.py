"""``RATE_LIMIT`` as callers meet it."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.support.platform import FakePlatform
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio

KEY, OTHER = "planted-key-4be1f0", "planted-key-77c2aa"
ONE = "/messages/82216/state"
MANY = "/messages/states"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def statuses(client: httpx.AsyncClient, times: int, **headers: str) -> list[int]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return [(await client.get(ONE, headers=named)).status_code for _ in range(times)]


async def test_the_problem_says_when_to_come_back_and_then_the_caller_is_let_in(platform: FakePlatform) -> None:
    clock = Clock()
    async with service(platform, rate_limit=0.5, clock=clock) as client:
        assert await statuses(client, 1) == [200]
        response = await client.get(ONE)
        assert_problem(response, 429, "rate-limited")
        assert response.headers["retry-after"] == "2"
        clock.now += 1.9
        assert await statuses(client, 1) == [429]
        clock.now += 0.1
        assert await statuses(client, 1) == [200]


async def test_cached_answers_count(platform: FakePlatform) -> None:
    async with service(platform, rate_limit=2, clock=Clock()) as client:
        assert await statuses(client, 6) == [200] * 4 + [429] * 2
    assert len(platform.requests) == 1


async def test_a_batch_costs_its_distinct_ids(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3)
    async with service(platform, rate_limit=2, clock=Clock()) as client:
        assert (await client.post(MANY, json={"ids": [1, 2, 3, 3, 3, 3, 3]})).status_code == 200
        assert await statuses(client, 2) == [200, 429]


async def test_a_batch_larger_than_the_burst_passes_a_full_bucket_and_is_paid_for_afterwards(
    platform: FakePlatform,
) -> None:
    ids = list(range(1, 101))
    platform.knows(*ids)
    clock = Clock()
    async with service(platform, rate_limit=10, clock=clock) as client:
        assert (await client.post(MANY, json={"ids": ids})).status_code == 200
        refused = await client.post(MANY, json={"ids": ids})
        assert_problem(refused, 429, "rate-limited")
        assert refused.headers["retry-after"] == "10"
        clock.now += 10
        assert (await client.post(MANY, json={"ids": ids})).status_code == 200


async def test_a_refused_request_asks_the_platform_nothing(platform: FakePlatform) -> None:
    async with service(platform, rate_limit=0.5, clock=Clock()) as client:
        await client.post(MANY, json={"ids": [82216]})
        asked = len(platform.requests)
        assert (await client.get("/messages/5/state")).status_code == 429
        assert (await client.post(MANY, json={"ids": [6]})).status_code == 429
    assert len(platform.requests) == asked


@pytest.mark.parametrize("content", [b"no JSON", b'{"ids": []}', b'{"ids": [0]}'])
async def test_mistakes_are_told_before_the_quota_and_cost_nothing(platform: FakePlatform, content: bytes) -> None:
    async with service(platform, rate_limit=0.5, clock=Clock()) as client:
        headers = {"Content-Type": "application/json"}
        assert (await client.get("/messages/0/state")).status_code == 422
        assert (await client.post(MANY, content=content, headers=headers)).status_code == 422
        assert await statuses(client, 2) == [200, 429]
        assert (await client.get("/messages/0/state")).status_code == 422
        assert (await client.post(MANY, content=content, headers=headers)).status_code == 422


async def test_callers_with_keys_have_a_quota_for_each_name_whatever_their_address(platform: FakePlatform) -> None:
    settings: dict[str, Any] = {
        "rate_limit": 0.5,
        "api_keys": f"shop:{KEY},crm:{OTHER}",
        "trusted_proxies": "127.0.0.0/8",
    }
    async with service(platform, clock=Clock(), **settings) as client:
        assert await statuses(client, 2, X_API_Key=KEY, X_Forwarded_For="192.0.2.1") == [200, 429]
        assert await statuses(client, 1, Authorization=f"Bearer {KEY}", X_Forwarded_For="192.0.2.2") == [429]
        assert await statuses(client, 2, X_API_Key=OTHER, X_Forwarded_For="192.0.2.1") == [200, 429]


async def test_a_refused_key_costs_nobody_anything(platform: FakePlatform) -> None:
    async with service(platform, clock=Clock(), rate_limit=0.5, api_keys=f"shop:{KEY}") as client:
        assert await statuses(client, 3, X_API_Key="wrong-key-of-a-length") == [401] * 3
        assert await statuses(client, 1, X_API_Key=KEY) == [200]


async def test_without_keys_an_address_has_the_quota_and_only_a_trusted_proxy_may_name_it(
    platform: FakePlatform,
) -> None:
    settings: dict[str, Any] = {"rate_limit": 0.5, "trusted_proxies": "10.0.0.0/8"}
    async with service(platform, clock=Clock(), caller="10.0.0.1", **settings) as proxied:
        assert await statuses(proxied, 2, X_Forwarded_For="192.0.2.1") == [200, 429]
        assert await statuses(proxied, 1, X_Forwarded_For="192.0.2.2") == [200]
        assert await statuses(proxied, 1, X_Forwarded_For="192.0.2.3, 192.0.2.1") == [429]
    async with service(platform, clock=Clock(), caller="192.0.2.9", **settings) as direct:
        assert await statuses(direct, 1, X_Forwarded_For="192.0.2.1") == [200]
        assert await statuses(direct, 1, X_Forwarded_For="192.0.2.2") == [429]


async def test_callers_behind_a_proxy_that_writes_ports_have_quotas_of_their_own_and_an_ipv6_network_has_one(
    platform: FakePlatform,
) -> None:
    settings: dict[str, Any] = {"rate_limit": 0.5, "trusted_proxies": "10.0.0.1:8080"}
    async with service(platform, clock=Clock(), caller="10.0.0.1", **settings) as proxied:
        for number in range(1, 13):
            assert await statuses(proxied, 1, X_Forwarded_For=f"192.0.2.{number}:{40000 + number}") == [200]
        assert await statuses(proxied, 1, X_Forwarded_For="192.0.2.7:5") == [429]
        assert await statuses(proxied, 1, X_Forwarded_For="[::ffff:192.0.2.8]:443") == [429]
        assert await statuses(proxied, 1, X_Forwarded_For="[2001:db8:0:1::7]:443") == [200]
        assert await statuses(proxied, 1, X_Forwarded_For="2001:db8:0:1:ffff::9") == [429]
        assert await statuses(proxied, 1, X_Forwarded_For="[2001:db8:0:2::7]:443") == [200]


async def test_probes_and_pages_have_no_quota(platform: FakePlatform) -> None:
    async with service(platform, clock=Clock(), rate_limit=0.5) as client:
        assert await statuses(client, 2) == [200, 429]
        for path in ("/livez", "/readyz", "/problems/rate-limited", "/openapi.json"):
            assert (await client.get(path)).status_code == 200


async def test_no_rate_means_no_limit(platform: FakePlatform) -> None:
    async with service(platform) as client:
        answers = await asyncio.gather(*(client.get(ONE) for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
