"""A process that listens on IPv4 and IPv6 at once, or where there is no IPv4."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.upstream.sandbox import LOGIN, PASSWORD
from tests.support.addresses import has_ipv6
from tests.support.processes import environment
from tests.support.running import free_port, running
from tests.support.scale import CI, only_in_ci

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


NAMESPACE = ("unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
ONLY_IPV6 = 'ip link set lo up && ip address del 127.0.0.1/8 dev lo && exec "$0" "$@"'


def can_do_without_ipv4() -> bool:
    """Whether a process here may have a network of its own, and take the IPv4 address from it. Asked in CI alone."""
    return CI and None not in (shutil.which("unshare"), shutil.which("ip")) and not subprocess.run(
        [*NAMESPACE, "sh", "-c", ONLY_IPV6, "true"], check=False, capture_output=True
    ).returncode  # fmt: skip


# Runs where there is no IPv4: the platform, the service before it, and a caller.
INSIDE = """
import http.client, signal, subprocess, sys, time
run = [sys.executable, "-m"]
platform = subprocess.Popen([*run, "app.upstream.sandbox", "--host", "::1", "--port", "8700"])
service = subprocess.Popen([*run, "app"])
def status(port, path):
    for _ in range(500):
        try:
            connection = http.client.HTTPConnection("::1", port, timeout=10)
            connection.request("GET", path)
            return connection.getresponse().status
        except ConnectionError:
            time.sleep(0.02)
status(8700, "/")
print(*[status(8000, path) for path in ("/livez", "/readyz", "/messages/82216/state")], status(9464, "/metrics"))
service.send_signal(signal.SIGTERM)
print(service.wait(20))
"""


@only_in_ci
@pytest.mark.skipif(
    not can_do_without_ipv4(), reason="needs unshare(1), ip(8), and the right to a network of one's own"
)
@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_without_ipv4_it_serves_probes_and_metrics_and_reaches_the_platform(tmp_path: Path) -> None:
    own = {
        "HOST": "::",
        "METRICS_PORT": "9464",
        "UPSTREAM_URL": "http://[::1]:8700/json/state.php",
        "UPSTREAM_LOGIN": LOGIN,
        "UPSTREAM_PASSWORD": PASSWORD,
    }
    done = subprocess.run(
        [*NAMESPACE, "sh", "-c", ONLY_IPV6, sys.executable, "-c", INSIDE],
        cwd=tmp_path, env=environment(tmp_path, own), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout == "200 200 200 200\n0\n", done.stderr
