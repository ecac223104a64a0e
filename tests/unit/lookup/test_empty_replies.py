"""Replies with nothing in them: one id may empty the reply to all, and a sick platform empties every one."""

import math

import pytest

from app.lookup.failures import AboutOneMessage, CircuitOpen, EmptyReply, MessageNotFound, ServerError
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time


def emptied_by(*ids: int) -> PlatformInMemory:
    """A platform whose reply is empty where it is asked for one of these ids, among others perhaps."""
    platform = PlatformInMemory(refusal=EmptyReply)
    platform.poisons(*ids)
    return platform


@pytest.mark.parametrize("position", [0, 50, 99])
@on_virtual_time
async def test_one_id_that_empties_the_reply_harms_nobody_else(position: int) -> None:
    platform = emptied_by(position)
    engine = engine_before(platform)
    answers = await ask(engine, range(100))
    assert isinstance(answers[position], EmptyReply)
    assert kinds(answers[:position] + answers[position + 1 :]) == {"deliver"}
    assert len(platform.requests) <= 16
    await assert_nothing_left(engine)


@on_virtual_time
async def test_neither_the_id_that_empties_a_reply_nor_the_search_for_it_is_a_sign_of_a_sick_platform() -> None:
    platform = emptied_by(7)
    engine = await warmed(platform)
    for batch in range(12):
        await ask(engine, [7, *range(100 + batch * 99, 199 + batch * 99)])
    for _ in range(20):
        (answer,) = await ask(engine, 7, fresh=True)
        assert isinstance(answer, EmptyReply)
    assert engine.policy.circuit_breaker.state == "closed"
    assert engine.policy.circuit_breaker._failures == 0


@on_virtual_time
async def test_an_empty_reply_to_one_id_under_no_suspicion_counts() -> None:
    platform = PlatformInMemory(failing=EmptyReply)
    engine = engine_before(platform)
    for id_ in range(10):
        assert kinds(await ask(engine, id_)) == {"EmptyReply"}
    (answer,) = await ask(engine, 99)
    assert isinstance(answer, CircuitOpen)
    assert len(platform.requests) == 10


@on_virtual_time
async def test_where_every_reply_is_empty_a_batch_counts_one_failure_and_the_search_ends_early() -> None:
    platform = PlatformInMemory(failing=EmptyReply)
    engine = engine_before(platform)
    assert kinds(await ask(engine, range(100))) == {"EmptyReply"}
    assert len(platform.requests) <= 2 * math.log2(100) + 2 + 2
    assert engine.policy.circuit_breaker._failures == 1


@on_virtual_time
async def test_an_empty_reply_to_the_probe_says_that_the_platform_is_not_back_unless_the_id_is_known_for_it() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = engine_before(platform)
    while engine.policy.circuit_breaker.state == "closed":
        await ask(engine, len(platform.requests) + 1)
    platform.failing = EmptyReply
    await _wait(5.1)
    assert kinds(await ask(engine, 1)) == {"EmptyReply"}
    assert engine.policy.circuit_breaker.state == "open"
    platform.failing = None
    platform.refusal = EmptyReply
    platform.poisons(7)
    await _wait(5.1)
    answers = await ask(engine, range(1, 9))
    assert kinds(answers) == {"deliver", "EmptyReply"}
    assert engine.policy.circuit_breaker.state == "closed"


async def _wait(seconds: float) -> None:
    done = loop().create_future()
    loop().call_later(seconds, done.set_result, None)
    await done


@on_virtual_time
async def test_a_batch_that_an_unknown_id_spoils_is_split_and_the_unknown_id_is_kept_as_such() -> None:
    platform = PlatformInMemory(refusal=lambda: MessageNotFound("a text says so", upstream_message="No."))
    platform.poisons(5)
    engine = engine_before(platform)
    answers = await ask(engine, range(100))
    assert isinstance(answers[5], AboutOneMessage)
    assert answers[5].slug == "message-not-found"
    assert kinds(answers[:5] + answers[6:]) == {"deliver"}
    assert len(platform.requests) <= 15
    sent = len(platform.requests)
    await ask(engine, [5, 6])
    assert len(platform.requests) == sent
    await assert_nothing_left(engine)
