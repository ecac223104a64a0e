"""The metrics port of a real process, with more connections than anybody needs."""

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from tests.support.running import free_port, running

pytestmark = pytest.mark.anyio

IDLE = 600


def threads_of(process: int) -> int:
    """How many threads a process has."""
    status = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))


async def test_600_idle_connections_take_neither_threads_nor_a_scrapes_time(tmp_path: Path) -> None:
    port = free_port()
    async with running({"UPSTREAM_URL": "sandbox:", "METRICS_PORT": str(port)}, tmp_path) as service:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(IDLE)]
        async with httpx.AsyncClient(trust_env=False) as client:
            begun = time.monotonic()
            scraped = await client.get(f"http://127.0.0.1:{port}/metrics")
            assert time.monotonic() - begun < 2
        assert "message_state_build_info" in scraped.text
        assert threads_of(service.process.pid) < 20
        for _, writer in idle:
            writer.close()
