"""``Cache-Control: no-cache`` in a lookup: section 1 of the contract."""

import httpx
import pytest

from tests.support.platform import FakePlatform

pytestmark = pytest.mark.anyio

ONE = "/messages/82216/state"
HIT, MISS = "message-state; hit", "message-state; fwd=miss"


@pytest.mark.parametrize("value", ["no-cache", "No-Cache", "max-age=0, no-cache", "no-transform ,no-cache"])
async def test_no_cache_asks_the_platform_anew(client: httpx.AsyncClient, platform: FakePlatform, value: str) -> None:
    assert (await client.get(ONE)).headers["cache-status"] == MISS
    platform.knows(82216, state="read")
    anew = await client.get(ONE, headers={"Cache-Control": value})
    assert (anew.headers["cache-status"], anew.json()["state"]) == (MISS, "read")
    assert len(platform.requests) == 2


@pytest.mark.parametrize("value", ["", "max-age=0", "no-cache-please", "only-if-cached", "no-transform"])
async def test_no_other_directive_does(client: httpx.AsyncClient, platform: FakePlatform, value: str) -> None:
    await client.get(ONE)
    assert (await client.get(ONE, headers={"Cache-Control": value})).headers["cache-status"] == HIT
    assert len(platform.requests) == 1


async def test_no_cache_may_stand_in_a_line_of_its_own(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    await client.get(ONE)
    await client.get(ONE, headers=[("Cache-Control", "max-age=0"), ("Cache-Control", "no-cache")])
    assert len(platform.requests) == 2


async def test_a_final_state_that_is_known_with_the_detail_asked_for_is_not_asked_for_again(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.knows(82216, state="read")
    anew = {"Cache-Control": "no-cache"}
    await client.get(ONE)
    assert (await client.get(ONE, headers=anew)).headers["cache-status"] == HIT
    detailed = await client.get(f"{ONE}?detail=true", headers=anew)
    assert (detailed.headers["cache-status"], detailed.json()["parts"]) == (MISS, 1)
    assert (await client.get(f"{ONE}?detail=true", headers=anew)).headers["cache-status"] == HIT
    assert len(platform.requests) == 2


async def test_no_cache_with_the_present_etag_asks_the_platform_and_answers_304(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    etag = (await client.get(ONE)).headers["etag"]
    answer = await client.get(ONE, headers={"Cache-Control": "no-cache", "If-None-Match": etag})
    assert (answer.status_code, answer.headers["cache-status"]) == (304, MISS)
    assert len(platform.requests) == 2
