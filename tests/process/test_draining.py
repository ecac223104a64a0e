"""The end of a process, as Kubernetes brings it about: no request is lost."""

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform, Received
from tests.support.running import Running, running
from tests.support.scale import only_in_ci, scaled

pytestmark = pytest.mark.anyio

# Each takes more than a second of CPU; CI has the patience for as many as the promise says.
ROLLOUTS = scaled(10, 1)
ROLLOUTS_AT_A_TIME = 5
CALLERS = 8
Waiting = tuple[Running, "asyncio.Task[httpx.Response]"]


@pytest.fixture
def slow_platform(platform: FakePlatform) -> FakePlatform:
    """A platform that takes 50 ms and knows every id."""

    async def take_time(request: Received) -> None:
        platform.knows(*request.ids)
        await asyncio.sleep(0.05)

    platform.before = take_time
    return platform


@pytest.fixture
def silent_platform(platform: FakePlatform) -> FakePlatform:
    """A platform that never answers."""

    async def never(_: Received) -> None:
        await asyncio.Event().wait()

    platform.before = never
    return platform


@asynccontextmanager
async def waiting_caller(platform: FakePlatform, folder: Path, grace: float) -> AsyncIterator[Waiting]:
    """A service with this grace, and a caller who waits for a platform that never answers."""
    patient = {"UPSTREAM_ATTEMPT_TIMEOUT": "30", "REQUEST_DEADLINE": "30", "SHUTDOWN_GRACE": str(grace)}
    async with (
        platform.serve() as url,
        running(variables(url, **patient), folder) as service,
        httpx.AsyncClient(trust_env=False, base_url=service.url, timeout=20) as client,
    ):
        answer = asyncio.create_task(client.get("/messages/82216/state"))
        while not platform.requests:
            await asyncio.sleep(0.01)
        yield service, answer


def variables(url: str, **more: str) -> dict[str, str]:
    # Patient, since a busy machine is no fault of the drain.
    limits = {"UPSTREAM_ATTEMPT_TIMEOUT": "20", "REQUEST_DEADLINE": "60"}
    return {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": TOKEN, **limits, **more}


async def call_until_told_to_leave(service: Running, ids: Iterator[int], limits: list[int]) -> list[int]:
    """One caller with one kept connection, as a load balancer's: it leaves when a reply closes the connection."""
    statuses = []
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        while True:
            response = await client.get(f"{service.url}/messages/{next(ids)}/state")
            statuses.append(response.status_code)
            limits.append(1)
            if response.headers.get("connection") == "close":
                return statuses


async def rollout(url: str, folder: Path) -> tuple[int, list[int]]:
    """Load, then SIGTERM in the middle of it. Returns the exit status and every status that a caller saw."""
    ids = itertools.count(1)
    calls: list[int] = []
    async with running(variables(url), folder) as service:
        callers = [asyncio.create_task(call_until_told_to_leave(service, ids, calls)) for _ in range(CALLERS)]
        while len(calls) < 5 * CALLERS:
            await asyncio.sleep(0.01)
        service.send(signal.SIGTERM)
        statuses = list(itertools.chain(*await asyncio.gather(*callers)))
        return await service.ended(), statuses


async def test_rollouts_under_load_lose_no_request(slow_platform: FakePlatform, tmp_path: Path) -> None:
    async with slow_platform.serve() as url:
        gate = asyncio.Semaphore(ROLLOUTS_AT_A_TIME)

        async def one() -> tuple[int, list[int]]:
            async with gate:
                return await rollout(url, tmp_path)

        ends = await asyncio.gather(*(one() for _ in range(ROLLOUTS)))
    assert [status for status, _ in ends] == [0] * ROLLOUTS
    assert {status for _, statuses in ends for status in statuses} == {200}


async def test_while_stopping_readyz_is_503_and_lookups_are_still_answered(
    slow_platform: FakePlatform, tmp_path: Path
) -> None:
    async with (
        slow_platform.serve() as url,
        running(variables(url), tmp_path) as service,
        httpx.AsyncClient(trust_env=False, base_url=service.url) as kept,
        httpx.AsyncClient(trust_env=False, base_url=service.url) as probing,
    ):
        await kept.get("/livez")
        service.send(signal.SIGTERM)
        async with asyncio.timeout(5):
            while (probe := await probing.get("/readyz")).status_code == 200:
                await asyncio.sleep(0.01)
        answer = await kept.get("/messages/82216/state")
        assert probe.status_code == 503
        assert probe.headers["content-type"] == "application/problem+json"
        assert answer.status_code == 200
        assert await service.ended() == 0


async def test_what_is_left_when_the_grace_is_over_gets_overloaded(
    silent_platform: FakePlatform, tmp_path: Path
) -> None:
    async with waiting_caller(silent_platform, tmp_path, grace=0.3) as (service, answer):
        service.send(signal.SIGTERM)
        response = await answer
        assert response.status_code == 503
        assert response.json()["type"] == "/problems/overloaded"
        assert response.headers["retry-after"] == "1"
        assert await service.ended() == 0
        assert "Traceback" not in service.text


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGTERM, signal.SIGTERM], id="a second SIGTERM"),
        pytest.param([signal.SIGINT], id="SIGINT", marks=only_in_ci),
        pytest.param([signal.SIGTERM, signal.SIGINT], id="SIGINT after SIGTERM", marks=only_in_ci),
    ],
)
async def test_an_impatient_signal_ends_at_once_and_clean(
    silent_platform: FakePlatform, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    async with waiting_caller(silent_platform, tmp_path, grace=60) as (service, answer):
        for number in signals:
            service.send(number)
            await asyncio.sleep(0.3)
        assert await service.ended(within=5) == 0
        assert (await answer).json()["type"] == "/problems/overloaded"
        assert "Traceback" not in service.text
