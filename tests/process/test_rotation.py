"""A secret that is swapped while a real process serves: nobody notices, and nobody reads it."""

import asyncio
import itertools
import os
from pathlib import Path

import httpx
import pytest

from tests.support.platform import FakePlatform, Received
from tests.support.running import Running, running

pytestmark = pytest.mark.anyio

OLD, NEW = "planted-old-token-91c4", "planted-new-token-5e0b"
CALLERS = 4
NOTICED_WITHIN = 5.0


def mount(folder: Path, token: str) -> None:
    """Put the token there as Kubernetes does: a link to a file in a folder that is swapped as a whole."""
    version = folder / f"..{token}"
    version.mkdir(parents=True)
    (version / "UPSTREAM_TOKEN").write_text(f"{token}\n")
    (folder / "..data_tmp").symlink_to(version.name)
    os.replace(folder / "..data_tmp", folder / "..data")
    if not (folder / "UPSTREAM_TOKEN").is_symlink():
        (folder / "UPSTREAM_TOKEN").symlink_to(Path("..data") / "UPSTREAM_TOKEN")


@pytest.fixture
def rotating(platform: FakePlatform) -> FakePlatform:
    """A platform that knows every id, and accepts the old token."""

    async def know(request: Received) -> None:
        platform.knows(*request.ids)

    platform.before = know
    platform.credentials = {"token": OLD}
    return platform


async def call(service: Running, ids: "itertools.count[int]", statuses: list[int], until: asyncio.Event) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        while not until.is_set():
            statuses.append((await client.get(f"{service.url}/messages/{next(ids)}/state")).status_code)
            # Four callers without a rest would keep two processors busy for as long as the swap takes.
            await asyncio.sleep(0.1)


def tokens(requests: list[Received]) -> set[str]:
    return {entry["token"] for request in requests for entry in request.entries}


async def test_a_swapped_secret_is_in_use_within_5_s_and_costs_no_request(
    rotating: FakePlatform, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    mount(secrets, OLD)
    statuses: list[int] = []
    enough = asyncio.Event()
    async with rotating.serve() as url:
        variables = {"UPSTREAM_URL": url, "SECRETS_DIR": str(secrets), "LOG_LEVEL": "debug"}
        async with running(variables, tmp_path) as service:
            ids = itertools.count(1)
            callers = [asyncio.create_task(call(service, ids, statuses, enough)) for _ in range(CALLERS)]
            rotating.also_accepted = {"token": NEW}
            mount(secrets, NEW)
            async with asyncio.timeout(NOTICED_WITHIN):
                while NEW not in tokens(rotating.requests):
                    await asyncio.sleep(0.05)
            # The platform forgets the old one; what has been sent with it by then is still accepted.
            await asyncio.sleep(0.2)
            rotating.credentials = {"token": NEW}
            seen = len(rotating.requests)
            while len(rotating.requests) < seen + 20:
                await asyncio.sleep(0.02)
            enough.set()
            await asyncio.gather(*callers)
            assert tokens(rotating.requests[seen:]) == {NEW}
    assert set(statuses) == {200}
    assert "UPSTREAM_TOKEN" in service.text
    assert OLD not in service.text
    assert NEW not in service.text


async def test_a_rejected_secret_is_replaced_within_the_request_that_met_it(
    rotating: FakePlatform, tmp_path: Path
) -> None:
    secrets = tmp_path / "secrets"
    mount(secrets, OLD)
    async with (
        rotating.serve() as url,
        running({"UPSTREAM_URL": url, "SECRETS_DIR": str(secrets)}, tmp_path) as service,
        httpx.AsyncClient(trust_env=False, base_url=service.url) as client,
    ):
        assert (await client.get("/messages/1/state")).status_code == 200
        rotating.credentials = {"token": NEW}
        mount(secrets, NEW)
        assert (await client.get("/messages/2/state")).status_code == 200
    assert [entry["token"] for request in rotating.requests for entry in request.entries] in (
        [OLD, OLD, NEW],
        [OLD, NEW],
    )
