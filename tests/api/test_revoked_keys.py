"""A key that is taken away ends what its caller waits for (section 5 of the contract)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.platform import TOKEN, FakePlatform
from tests.support.service import assert_problem, secrets_in
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import Stage, stage

KEY, OTHER, NEW = "planted-key-4be1f0", "planted-key-77c2aa", "planted-key-9d01bb"
STREAM = "/messages/states/events?id=1&id=2"


@asynccontextmanager
async def closed_service(folder: Path, *, keys: str | None = f"shop:{KEY},crm:{OTHER}") -> AsyncIterator[Stage]:
    """The service with these keys, before a platform that knows two pending messages."""
    platform = FakePlatform()
    platform.knows(1, 2, state="send")
    secrets = secrets_in(folder, "api_keys", upstream_token=TOKEN, api_keys=keys)
    async with stage(platform, secrets=secrets) as service:
        yield service


def rotate(service: Stage, folder: Path, keys: str) -> None:
    """Write the file of keys; the second look is what makes it count."""
    (folder / "API_KEYS").write_text(keys)
    for _ in range(2):
        service.app.state.service.refresh_secrets()


@pytest.mark.parametrize("keys", [f"crm:{OTHER}", f"crm:{OTHER},shop:{NEW}"], ids=["taken away", "exchanged"])
def test_a_revoked_key_ends_its_streams_without_words_and_no_others(tmp_path: Path, keys: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with closed_service(tmp_path) as service:
            revoked, kept = service.listen(STREAM, X_API_Key=KEY), service.listen(STREAM, X_API_Key=OTHER)
            await asyncio.sleep(1)
            said = revoked.body
            assert [name for name, _ in revoked.events] == ["state", "state"]
            rotate(service, tmp_path, keys)
            await asyncio.wait_for(revoked.task, 0.1)
            assert (revoked.status, revoked.body) == (200, said)
            await asyncio.sleep(20)
            assert not kept.task.done()
            await kept.hang_up()

    scenario()


@on_virtual_time
async def test_a_stream_whose_key_goes_while_its_first_lookup_runs_says_nothing_at_all(tmp_path: Path) -> None:
    async with closed_service(tmp_path) as service:
        stream = service.listen(STREAM, X_API_Key=KEY)
        await asyncio.sleep(0)
        rotate(service, tmp_path, f"crm:{OTHER}")
        await stream.task
        assert stream.body == b""


@pytest.mark.parametrize("keys", [f"crm:{OTHER}", f"crm:{OTHER},shop:{NEW}"], ids=["taken away", "exchanged"])
def test_a_revoked_key_ends_its_waits_with_401_and_no_others(tmp_path: Path, keys: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with closed_service(tmp_path) as service:
            revoked = asyncio.create_task(service.wait(1, 25, X_API_Key=KEY))
            kept = asyncio.create_task(service.wait(1, 25, X_API_Key=OTHER))
            await asyncio.sleep(1)
            rotate(service, tmp_path, keys)
            response, seconds = await revoked
            assert_problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert seconds < 1.1
            response, seconds = await kept
            assert (response.status_code, seconds) == (200, 25)

    scenario()


@on_virtual_time
async def test_keys_that_close_an_open_service_end_what_was_waited_for_without_one(tmp_path: Path) -> None:
    async with closed_service(tmp_path, keys=None) as service:
        stream = service.listen(STREAM)
        wait = asyncio.create_task(service.wait(1, 25))
        await asyncio.sleep(1)
        rotate(service, tmp_path, f"shop:{KEY}")
        await asyncio.wait_for(stream.task, 0.1)
        assert_problem((await wait)[0], 401, "unauthenticated")


@on_virtual_time
async def test_a_key_that_stays_keeps_its_streams_whatever_its_callers_name_becomes(tmp_path: Path) -> None:
    async with closed_service(tmp_path) as service:
        stream = service.listen(STREAM, X_API_Key=KEY)
        await asyncio.sleep(1)
        rotate(service, tmp_path, f"webshop:{KEY},crm:{NEW}")
        await asyncio.sleep(20)
        assert not stream.task.done()
        await stream.hang_up()
