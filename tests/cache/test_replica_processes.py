"""Replicas as real processes: one that is killed or stopped while it holds leases costs the others two lifetimes."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cache.caches import own_prefix
from tests.support.platform import FakePlatform
from tests.support.redis_server import RedisServer
from tests.support.running import Running, running
from tests.support.scale import only_in_ci

pytestmark = pytest.mark.anyio

TTL = 1.0
TOKENS = ("planted-token-one", "planted-token-other")
SLACK = 1.5
"""Seconds by which a busy machine may be late."""


class Page:
    """A stream of message 1: the states that it has shown."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.states: list[str] = []

    async def read(self) -> None:
        """Show what comes."""
        async with (
            httpx.AsyncClient(trust_env=False, timeout=None) as client,
            client.stream("GET", f"{self._url}/messages/states/events?id=1") as response,
        ):
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self.states.append(json.loads(line.removeprefix("data: "))["state"])

    async def until(self, state: str) -> float:
        """Wait for a state. Returns the seconds that it took."""
        started = time.monotonic()
        async with asyncio.timeout(30):
            while state not in self.states:
                await asyncio.sleep(0.01)
        return time.monotonic() - started


@asynccontextmanager
async def watched_by_two(
    platform: FakePlatform, redis: RedisServer, folder: Path
) -> AsyncIterator[list[tuple[str, Running, Page]]]:
    """Two processes on one Redis with a page each; a token tells the platform, and us, which of them asks."""
    platform.credentials, platform.also_accepted = {"token": TOKENS[0]}, {"token": TOKENS[1]}
    platform.knows(1, state="send")
    settings = {"CACHE_URL": redis.url, "CACHE_PREFIX": own_prefix(), "PENDING_TTL": "1", "PENDING_TTL_MAX": "1"}
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(platform.serve())
        members = []
        for token in TOKENS:
            variables = settings | {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": token}
            process = await stack.enter_async_context(running(variables, folder))
            page = Page(process.url)
            reading = asyncio.create_task(page.read())
            stack.callback(reading.cancel)
            await page.until("send")
            members.append((token, process, page))
        yield members


async def who_asks(platform: FakePlatform) -> str:
    """The token of the replica that alone has asked for several lifetimes."""
    async with asyncio.timeout(60):
        while True:
            before = len(platform.requests)
            await asyncio.sleep(3 * TTL)
            tokens = {entry["token"] for request in platform.requests[before:] for entry in request.entries}
            if len(tokens) == 1:
                return str(tokens.pop())


@only_in_ci
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_holder_that_is_killed_or_stopped_lets_the_other_see_a_change_at_most_two_lifetimes_late(
    start_redis: Callable[..., RedisServer], tmp_path: Path, number: signal.Signals
) -> None:
    platform = FakePlatform()
    async with watched_by_two(platform, start_redis(), tmp_path) as members:
        token = await who_asks(platform)
        members.sort(key=lambda member: member[0] != token)
        (_, holder, its_page), (_, _, other_page) = members
        holder.send(number)
        platform.knows(1, state="partly_deliver")
        assert await other_page.until("partly_deliver") <= 3 * TTL + SLACK
        if number is signal.SIGSTOP:
            await asyncio.sleep(2 * TTL)
            holder.send(signal.SIGCONT)
            assert await its_page.until("partly_deliver") <= TTL + SLACK
            await who_asks(platform)
