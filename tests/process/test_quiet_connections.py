"""After SIGTERM a connection that is idle just then is still served for a while: a caller cannot know in time."""

import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from tests.support.running import running

pytestmark = pytest.mark.anyio


async def test_after_sigterm_an_idle_connection_is_still_served_for_a_while_and_then_closed(tmp_path: Path) -> None:
    async with (
        running({"UPSTREAM_URL": "sandbox:"}, tmp_path) as service,
        httpx.AsyncClient(trust_env=False, base_url=service.url) as late,
        httpx.AsyncClient(trust_env=False, base_url=service.url) as silent,
    ):
        assert (await late.get("/livez")).headers.get("connection") != "close"
        await silent.get("/livez")
        begun = time.monotonic()
        service.send(signal.SIGTERM)
        await asyncio.sleep(0.8)
        answer = await late.get("/messages/82216/state")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        # The other connection brings nothing, and keeps the process for a while longer, but not for its whole grace.
        assert await service.ended(within=15) == 0
        assert time.monotonic() - begun >= 2
