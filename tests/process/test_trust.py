"""What a real process believes of callers, and what its log says of those who wait."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import listening
from tests.support.running import free_port

pytestmark = pytest.mark.anyio

PENDING = 82217
"""What the sandbox always calls pending."""


@dataclass(frozen=True)
class Process:
    """The service as a process: its port, and where its log goes."""

    port: int
    output: Path

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """The log's entries that have these fields."""
        text = self.output.read_text()
        entries: list[dict[str, Any]] = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return [entry for entry in entries if fields.items() <= entry.items()]

    async def line(self, **fields: object) -> dict[str, Any]:
        """The one entry that has these fields, as soon as it is there."""
        async with asyncio.timeout(20):
            while not self.lines(**fields):
                await asyncio.sleep(0.01)
        (found,) = self.lines(**fields)
        return found


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The service with its sandbox, and room for one id in its queue."""
    port = free_port()
    variables = {"UPSTREAM_URL": "sandbox:", "PORT": str(port), "MAX_QUEUED_IDS": "1"}
    with listening(tmp_path_factory.mktemp("service"), "app", port, **variables) as output:
        yield Process(port, output)


@pytest.fixture
async def client(process: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{process.port}", timeout=30) as started:
        yield started


def second(entry: dict[str, Any]) -> float:
    """When an entry was made, in seconds since the epoch."""
    return datetime.fromisoformat(entry["time"]).timestamp()


async def test_without_trusted_proxies_nobody_is_believed_who_else_calls(
    process: Process, client: httpx.AsyncClient
) -> None:
    # uvicorn by itself would believe whatever comes from this machine.
    headers = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Request-ID": "forwarded"}
    await client.get(f"/messages/{PENDING}/state", headers=headers)
    assert (await process.line(message="request", request_id="forwarded"))["caller"] == "127.0.0.1"


async def test_the_line_of_a_wait_has_its_request_id_its_duration_and_the_time_of_its_end(
    process: Process, client: httpx.AsyncClient
) -> None:
    begun = time.time()
    answer = await client.get(f"/messages/{PENDING}/state?wait=1", headers={"X-Request-ID": "wait"})
    ended = time.time()
    assert answer.status_code == 200
    entry = await process.line(message="request", request_id="wait")
    assert 1000 <= entry["duration_ms"] <= 1000 * (ended - begun) + 50
    assert begun + 0.99 <= second(entry) <= ended + 0.1
    assert entry["status"] == 200


async def test_what_is_logged_while_a_stream_lasts_has_its_request_id_and_its_own_line_comes_at_its_end(
    process: Process, client: httpx.AsyncClient
) -> None:
    events = f"/messages/states/events?id={PENDING}&id=1000001&id=1000002"
    async with client.stream("GET", events, headers={"X-Request-ID": "stream"}) as response:
        received = response.aiter_lines()
        await anext(received)
        warned = await process.line(level="warning", request_id="stream")
        assert "queue" in warned["message"]
        assert process.lines(message="request", request_id="stream") == []
        await asyncio.sleep(0.3)
        left = time.time()
    entry = await process.line(message="request", request_id="stream")
    assert entry["duration_ms"] >= 300
    assert left - 0.1 <= second(entry) <= left + 5
