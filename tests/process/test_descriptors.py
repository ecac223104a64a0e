"""A real process at its limit of open files: it says so, goes on with what it can, and recovers."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform
from tests.support.redis_server import PROGRAM, RedisServer
from tests.support.running import Running, free_port, running
from tests.support.scale import only_in_ci
from tests.support.scraping import Scrape

pytestmark = pytest.mark.anyio

LIMIT, CALLERS = 150, 300
TOLD = "too many open files: "
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(service: Running, request: bytes = b"") -> AsyncIterator[list[Connection]]:
    """More connections than there are descriptors, each with this request."""
    port = int(service.url.rpartition(":")[2])
    made: list[Connection] = []
    for _ in range(CALLERS):
        made.append(await asyncio.open_connection("127.0.0.1", port))
        made[-1][1].write(request)
    yield made
    for _, writer in made:
        writer.close()


async def scrape(client: httpx.AsyncClient, port: int) -> Scrape:
    """The metrics as they are now."""
    return Scrape((await client.get(f"http://127.0.0.1:{port}/metrics")).text)


async def until(client: httpx.AsyncClient, port: int, **connections: int) -> Scrape:
    """The metrics once there are at least so many connections of each state; it is looked once a second."""
    async with asyncio.timeout(20):
        while True:
            scraped = await scrape(client, port)
            if all(scraped.value("http_connections", state=name) >= least for name, least in connections.items()):
                return scraped
            await asyncio.sleep(0.1)


def told(service: Running) -> list[str]:
    """The messages above information about too many of something."""
    entries = [json.loads(line) for line in service.text.splitlines()]
    return [each["message"] for each in entries if each["level"] == "error" and "API_KEYS" not in each["message"]]


async def test_idle_connections_leave_for_new_ones_and_the_platform_is_still_asked(
    platform: FakePlatform, tmp_path: Path
) -> None:
    platform.knows(*range(1, 100))
    port = free_port()
    async with (
        platform.serve() as url,
        running(
            {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": TOKEN, "METRICS_PORT": str(port)}, tmp_path, descriptors=LIMIT
        ) as service,
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
    ):
        async with connected(service):
            scraped = await until(client, port, idle=10)
            assert scraped.value("http_connections_closed_total", limit="descriptors") > 100
            assert 16 < scraped.value("descriptors_left") < LIMIT / 2
            for id_ in range(1, 20):
                assert (await client.get(f"{service.url}/messages/{id_}/state")).status_code == 200
        (line,) = told(service)
        assert line.startswith(TOLD)
        assert f"the limit of {LIMIT} allows; raise it (ulimit -n)" in line
        async with asyncio.timeout(20):
            while "there are descriptors for new connections again" not in service.text:
                await asyncio.sleep(0.05)


@only_in_ci
async def test_where_all_callers_wait_new_ones_are_turned_away_and_nobody_loses_an_answer(
    platform: FakePlatform, tmp_path: Path
) -> None:
    platform.knows(1, state="send")
    port = free_port()
    async with (
        platform.serve() as url,
        running(
            {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": TOKEN, "METRICS_PORT": str(port)}, tmp_path, descriptors=LIMIT
        ) as service,
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
    ):
        async with connected(service, b"GET /messages/1/state?wait=4 HTTP/1.1\r\nHost: x\r\n\r\n") as made:
            waiting = await until(client, port, answering=10)
            answers = [await read_status(reader) for reader, _ in made]
        assert set(answers) == {b"HTTP/1.1 200 OK\r\n", b""}
        assert answers.count(b"HTTP/1.1 200 OK\r\n") >= waiting.value("http_connections", state="answering")
        assert len(told(service)) == 1


async def read_status(reader: asyncio.StreamReader) -> bytes:
    """The first line of an answer; nothing where the connection was closed."""
    try:
        return await asyncio.wait_for(reader.readline(), 20)
    except ConnectionError:
        return b""


async def test_a_limit_that_leaves_no_room_is_told_at_the_start_with_the_one_that_does(tmp_path: Path) -> None:
    variables = {"UPSTREAM_URL": "sandbox:", "UPSTREAM_MAX_IN_FLIGHT": "30"}
    lines = []
    least = 64
    for _ in range(2):
        async with running(variables, tmp_path, descriptors=least) as service:
            service.send(signal.SIGTERM)
            assert await service.ended() == 0
        lines += told(service)
        match = re.fullmatch(
            r"too many open files: the limit of 64 .* raise it to (\d+) or more \(ulimit -n\)", lines[0]
        )
        assert match is not None
        # Some more, for a caller that is connected already when it is counted.
        least = int(match[1]) + 5
    assert len(lines) == 1


@only_in_ci
@pytest.mark.skipif(PROGRAM is None, reason="neither redis-server nor valkey-server is installed")
async def test_there_is_room_for_redis_and_for_scrapes(platform: FakePlatform, tmp_path: Path) -> None:
    platform.knows(*range(1, 100))
    redis = RedisServer(tmp_path)
    redis.start()
    port = free_port()
    variables = {"UPSTREAM_TOKEN": TOKEN, "METRICS_PORT": str(port), "CACHE_URL": redis.url}
    try:
        async with (
            platform.serve() as url,
            running({**variables, "UPSTREAM_URL": url}, tmp_path, descriptors=LIMIT) as service,
            httpx.AsyncClient(trust_env=False, timeout=20) as client,
        ):
            async with connected(service):
                await until(client, port, idle=10)
                for id_ in range(1, 20):
                    assert (await client.get(f"{service.url}/messages/{id_}/state")).status_code == 200
                scrapes = await asyncio.gather(*(scrape(client, port) for _ in range(10)))
                assert min(each.value("descriptors_left") for each in scrapes) > 16
            assert len([key for key in redis.all_keys() if key.rpartition(":")[2].isdigit()]) >= 19
            assert "Redis" not in service.text
    finally:
        redis.stop()
