"""Rejected credentials: how lockout, policy and engine stop sending them."""

import asyncio

import pytest

from app.lookup.failures import CredentialsRejected, LookupFailure, Unreachable
from tests.support.lookup import PlatformInMemory, ask, engine_before, kinds, warmed
from tests.support.virtual_time import on_virtual_time


@on_virtual_time
async def test_after_the_lockout_one_request_goes_first_and_the_others_get_the_same_problem() -> None:
    platform = PlatformInMemory(failing=CredentialsRejected)
    engine = engine_before(platform)
    await ask(engine, 1)
    await asyncio.sleep(60)
    answers = await asyncio.gather(*(ask(engine, id_) for id_ in range(500)))
    assert len(platform.requests) == 2
    assert {kind for each in answers for kind in kinds(each)} == {"CredentialsRejected"}
    times = {answer.retry_after for each in answers for answer in each if isinstance(answer, LookupFailure)}
    assert max(time or 0 for time in times) == 120


@on_virtual_time
async def test_the_request_that_goes_first_opens_the_way_for_the_others() -> None:
    platform = PlatformInMemory(script=[CredentialsRejected])
    engine = engine_before(platform)
    await ask(engine, 1)
    await asyncio.sleep(60)
    assert kinds(await ask(engine, 1)) == kinds(await ask(engine, 2)) == {"deliver"}


@on_virtual_time
async def test_the_request_that_goes_first_is_not_retried() -> None:
    platform = PlatformInMemory(script=[CredentialsRejected], failing=Unreachable)
    engine = engine_before(platform)
    await ask(engine, 1)
    await asyncio.sleep(60)
    await ask(engine, 1)
    assert len(platform.requests) == 2


@on_virtual_time
async def test_a_changed_secret_is_tried_at_once_even_while_the_old_one_is_in_flight() -> None:
    platform = PlatformInMemory(script=[CredentialsRejected])
    engine = await warmed(platform)
    old = asyncio.create_task(ask(engine, 1))
    await asyncio.sleep(0.01)
    engine.credentials_changed()
    assert kinds(await ask(engine, 2)) == {"deliver"}
    assert kinds(await old) == {"deliver"}


@on_virtual_time
async def test_a_changed_secret_is_no_repeat() -> None:
    platform = PlatformInMemory(failing=CredentialsRejected)
    engine = engine_before(platform)
    for _ in range(2):
        (answer,) = await ask(engine, 1)
        assert isinstance(answer, CredentialsRejected)
        assert answer.retry_after == 60
        engine.credentials_changed()


@on_virtual_time
async def test_a_changed_secret_is_tried_by_two_requests_at_most() -> None:
    platform = PlatformInMemory(failing=CredentialsRejected)
    engine = await warmed(platform, batch_size=1)
    engine.credentials_changed()
    await asyncio.gather(*(ask(engine, id_) for id_ in range(20)))
    assert len(platform.requests) == 2


@pytest.mark.parametrize("ids", [range(1, 2), range(10)])
@on_virtual_time
async def test_credentials_rejected_entry_by_entry_begin_a_lockout(ids: range) -> None:
    platform = PlatformInMemory(odd_entries=dict.fromkeys(ids, CredentialsRejected))
    engine = engine_before(platform)
    assert kinds(await ask(engine, ids)) == {"CredentialsRejected"}
    assert kinds(await ask(engine, 100)) == {"CredentialsRejected"}
    assert len(platform.requests) == 1


@on_virtual_time
async def test_credentials_rejected_in_one_entry_of_several_are_that_ids_alone() -> None:
    platform = PlatformInMemory(odd_entries={1: CredentialsRejected})
    engine = engine_before(platform)
    assert kinds(await ask(engine, [1, 2])) == {"CredentialsRejected", "deliver"}
    assert kinds(await ask(engine, 3)) == {"deliver"}
