"""An upstream request that the end of the service cuts off is counted as what it is."""

import asyncio

import pytest

from tests.support.platform import FakePlatform, Reply
from tests.support.scraping import scrape
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio


async def test_a_request_that_is_cut_off_is_no_success_in_the_metrics() -> None:
    platform = FakePlatform()
    platform.always = Reply(hang=True)
    async with service(platform) as client:
        asked = asyncio.create_task(client.get("/messages/1/state"))
        while not platform.requests:
            await asyncio.sleep(0)
    assert_problem(await asked, 503, "overloaded")
    count = "upstream_request_duration_seconds_count"
    assert scrape(client).value(count, result="cancelled") == 1
    assert scrape(client).value(count) == 1
