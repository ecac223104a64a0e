"""The service as a process of its own: what a hostile body costs it, and what its callers cost the platform."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import misbehaviour as does
from tests.support.hostile import HostilePlatform, state_of, well
from tests.support.platform import SECRETS, TOKEN
from tests.support.running import Running, running
from tests.support.scale import scaled
from tests.support.served import Caller

pytestmark = pytest.mark.anyio

HOSTILE = {
    "a body without end": does.endless_body,
    "bytes without end behind a compressed body": does.endless_compressed_body,
    "256 MiB, compressed to 0.3 MiB": does.gzip_bomb,
    "8 MiB of [[],[],...]": does.fills_8_mib(b"[]"),
    "8 MiB of [0,0,...]": does.fills_8_mib(b"0"),
    "headers without end": does.endless_headers,
}
GROWTH_MIB = 40
CONNECTIONS = scaled(1000, 200)
PROCESS_STATUS = Path("/proc/self/status")


@asynccontextmanager
async def process(platform: HostilePlatform, folder: Path) -> AsyncIterator[tuple[Running, Caller]]:
    """The service as a process before the platform, and a caller of it."""
    async with platform.serve() as url:
        # A long limit for an attempt: on a busy machine 8 MiB take their time, and time is not what is tested.
        variables = {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": TOKEN, "LOG_LEVEL": "debug", "LOG_FORMAT": "text"}
        async with running(variables | {"UPSTREAM_ATTEMPT_TIMEOUT": "5"}, folder) as service:
            yield service, Caller(int(service.url.rpartition(":")[2]))


@pytest.mark.skipif(not PROCESS_STATUS.exists(), reason="the most memory that a process had is read from Linux's /proc")
async def test_hostile_bodies_one_after_another_grow_the_process_by_less_than_40_mib(tmp_path: Path) -> None:
    platform = HostilePlatform(well)
    async with process(platform, tmp_path) as (service, caller):
        # As many good answers that the circuit stays closed whatever follows; and everything is loaded by then.
        for id_ in range(1, 41):
            assert (await caller.state(id_)).status == 200
        before = _mebibytes(service, "VmRSS")
        for number, (name, behaviour) in enumerate(HOSTILE.items()):
            platform.behaviour = behaviour
            for again in range(2):
                assert (await caller.state(1000 + 10 * number + again)).status == 502, name
            assert _mebibytes(service, "VmHWM") - before < GROWTH_MIB, name
    assert not [secret for secret in SECRETS if secret in service.text]


async def test_many_connections_cost_the_platform_no_more_requests_than_they_must(tmp_path: Path) -> None:
    platform = HostilePlatform(does.slow(0.1))
    async with process(platform, tmp_path) as (_, caller):
        distinct = await asyncio.gather(*(caller.state(id_) for id_ in range(1, CONNECTIONS + 1)))
        assert [(each.status, each.document["state"]) for each in distinct] == [
            (200, state_of(id_)) for id_ in range(1, CONNECTIONS + 1)
        ]
        assert len(platform.requests) <= 40
        assert sorted(id_ for request in platform.requests for id_ in request.ids) == list(range(1, CONNECTIONS + 1))
        assert platform.most_in_flight <= 4
        platform.requests.clear()
        same = await asyncio.gather(*(caller.state(20_000) for _ in range(CONNECTIONS)))
        assert {each.status for each in same} == {200}
        assert [request.ids for request in platform.requests] == [[20_000]]


def _mebibytes(service: Running, name: str) -> float:
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
