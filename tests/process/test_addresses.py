"""A process that listens on IPv4 and IPv6 at once."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from tests.support.addresses import has_ipv6
from tests.support.running import free_port, running

pytestmark = pytest.mark.anyio


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_host_of_two_colons_answers_both_families_probes_and_metrics_included(tmp_path: Path) -> None:
    metrics_port = free_port()
    variables = {"UPSTREAM_URL": "sandbox:", "HOST": "::", "METRICS_PORT": str(metrics_port), "RATE_LIMIT": "100"}
    async with running(variables, tmp_path) as service, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        port = service.url.rpartition(":")[2]
        for address in ("127.0.0.1", "[::1]"):
            for path in ("/livez", "/readyz", "/messages/82216/state"):
                assert (await client.get(f"http://{address}:{port}{path}")).status_code == 200
            scraped = await client.get(f"http://{address}:{metrics_port}/metrics")
            assert "message_state_build_info" in scraped.text
        async with asyncio.timeout(20):
            while len(callers := callers_in(service.text)) < 2:
                await asyncio.sleep(0.01)
    # An IPv4 caller is the address that it has, and not the one that IPv6 gives it: all of those are in one network.
    assert callers == ["127.0.0.1", "::1"]


def callers_in(log: str) -> list[str]:
    """Who asked for messages, as the lines of the log tell."""
    entries = map(json.loads, log.splitlines())
    return [each["caller"] for each in entries if str(each.get("route")).startswith("/messages/")]
