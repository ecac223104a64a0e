"""Where the parts of ``resilience`` meet: what is sent, sent again, and not sent."""

import asyncio

import pytest

from app.lookup.failures import (
    AccountLocked,
    CircuitOpen,
    CredentialsRejected,
    DeadlinePassed,
    InvalidReply,
    LookupFailure,
    RequestRejected,
    ServerError,
    Throttled,
    TimedOut,
    TlsFailure,
    UnexpectedStatus,
    UnknownRefusal,
    Unreachable,
)
from app.lookup.flight import Flight, Slots
from app.lookup.guard import Guard
from app.lookup.waiting import Entry
from tests.support.lookup import PlatformInMemory, hang
from tests.support.virtual_time import loop, on_virtual_time

RETRIED_AND_COUNTED = [Unreachable, TimedOut, ServerError]
ONLY_COUNTED = [TlsFailure, InvalidReply, UnexpectedStatus]
NEITHER = [RequestRejected, UnknownRefusal, CredentialsRejected, AccountLocked, Throttled]


def guard_before(platform: PlatformInMemory, pause: float = 0.1) -> Guard:
    def jitter(least: float, most: float) -> float:
        assert (least, most) == (0.05, 0.25)
        return pause

    return Guard(platform, loop().time, attempt_timeout=2.0, jitter=jitter)


def seconds(left: float) -> Flight:
    """A flight of somebody whose deadline is so far away."""
    entry = Entry(1, False)
    entry.deadline = loop().time() + left
    return Flight([entry], Slots(lambda: 4), loop().time)


async def failure_of(guard: Guard, id_: int = 1, *, left: float = 5.0, retry: bool = True) -> LookupFailure:
    with pytest.raises(LookupFailure) as caught:
        await guard.ask({id_: False}, seconds(left), retry=retry)
    return caught.value


@pytest.mark.parametrize("kind", RETRIED_AND_COUNTED)
@on_virtual_time
async def test_a_failure_that_may_pass_is_retried_once_after_the_jitter(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(script=[kind])
    started = loop().time()
    assert await guard_before(platform).ask({1: False}, seconds(5))
    assert [request.at - started for request in platform.requests] == pytest.approx([0, 0.03 + 0.1])


@pytest.mark.parametrize("kind", RETRIED_AND_COUNTED)
@on_virtual_time
async def test_a_second_failure_is_the_answer_and_both_count(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(failing=kind)
    guard = guard_before(platform)
    assert type(await failure_of(guard)) is kind
    assert len(platform.requests) == 2
    assert (guard.circuit._failures, len(guard.circuit._attempts)) == (2, 2)


@pytest.mark.parametrize("kind", ONLY_COUNTED)
@on_virtual_time
async def test_a_failure_that_a_retry_cannot_mend_only_counts(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(failing=kind)
    guard = guard_before(platform)
    await failure_of(guard)
    assert len(platform.requests) == 1
    assert (guard.circuit._failures, len(guard.circuit._attempts)) == (1, 1)


@pytest.mark.parametrize("kind", NEITHER)
@on_virtual_time
async def test_a_refusal_is_neither_retried_nor_counted(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(failing=kind)
    guard = guard_before(platform)
    await failure_of(guard)
    assert len(platform.requests) == 1
    assert len(guard.circuit._attempts) == 0


@on_virtual_time
async def test_an_extra_question_is_not_retried() -> None:
    platform = PlatformInMemory(failing=ServerError)
    await failure_of(guard_before(platform), retry=False)
    assert len(platform.requests) == 1


@on_virtual_time
async def test_without_budget_there_is_no_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    guard = guard_before(platform)
    while guard.budget.take():
        pass
    await failure_of(guard)
    assert len(platform.requests) == 1


@pytest.mark.parametrize(("left", "sent"), [(0.12, 1), (0.14, 2)])
@on_virtual_time
async def test_a_retry_needs_time_left_after_its_pause(left: float, sent: int) -> None:
    platform = PlatformInMemory(failing=ServerError)
    started = loop().time()
    await failure_of(guard_before(platform), left=left)
    assert len(platform.requests) == sent
    assert loop().time() - started <= left + 0.001


@on_virtual_time
async def test_a_retry_is_cut_to_the_time_left() -> None:
    latencies = iter([1.0, 3600.0])
    platform = PlatformInMemory(latency=lambda: next(latencies), script=[ServerError])
    started = loop().time()
    assert (await failure_of(guard_before(platform), left=2.5)).slug == "upstream-timeout"
    assert loop().time() - started == pytest.approx(2.5)


@on_virtual_time
async def test_an_attempt_ends_at_its_time_limit() -> None:
    platform = PlatformInMemory(latency=hang)
    started = loop().time()
    assert type(await failure_of(guard_before(platform), retry=False)) is TimedOut
    assert loop().time() - started == pytest.approx(2.0)
    assert platform.in_flight == 0


@on_virtual_time
async def test_an_attempt_cut_short_by_the_deadline_says_nothing_about_the_platform() -> None:
    platform = PlatformInMemory(latency=hang)
    guard = guard_before(platform)
    assert type(await failure_of(guard, left=0.9)) is DeadlinePassed
    assert len(guard.circuit._attempts) == 0
    assert len(platform.requests) == 1


@on_virtual_time
async def test_nothing_is_sent_after_the_deadline() -> None:
    platform = PlatformInMemory()
    assert type(await failure_of(guard_before(platform), left=0)) is DeadlinePassed
    assert platform.requests == []


@on_virtual_time
async def test_an_open_circuit_means_no_request_and_no_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    guard = guard_before(platform)
    for _ in range(9):
        guard.circuit.count(failed=True)
    assert type(await failure_of(guard)) is ServerError
    assert type(await failure_of(guard)) is CircuitOpen
    assert len(platform.requests) == 1


@on_virtual_time
async def test_a_circuit_that_opens_during_the_jitter_stops_the_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    guard = guard_before(platform)
    asking = asyncio.create_task(failure_of(guard))
    await asyncio.sleep(0.05)
    for _ in range(10):
        guard.circuit.count(failed=True)
    assert type(await asking) is ServerError
    assert len(platform.requests) == 1


@on_virtual_time
async def test_one_probe_goes_and_is_not_retried() -> None:
    platform = PlatformInMemory(failing=ServerError)
    guard = guard_before(platform)
    for _ in range(10):
        guard.circuit.count(failed=True)
    await asyncio.sleep(5)
    failures = await asyncio.gather(*(failure_of(guard) for _ in range(3)))
    assert [type(failure) for failure in failures] == [ServerError, CircuitOpen, CircuitOpen]
    assert len(platform.requests) == 1
    assert guard.circuit.state == "open"


@pytest.mark.parametrize("kind", [UnknownRefusal, Throttled])
@on_virtual_time
async def test_a_probe_that_is_refused_shows_that_the_platform_is_back(kind: type[LookupFailure]) -> None:
    guard = guard_before(PlatformInMemory(failing=kind))
    for _ in range(10):
        guard.circuit.count(failed=True)
    await asyncio.sleep(5)
    await failure_of(guard)
    assert guard.circuit.state == "closed"


@on_virtual_time
async def test_a_cancelled_probe_makes_room_for_another() -> None:
    platform = PlatformInMemory(latency=hang)
    guard = guard_before(platform)
    for _ in range(10):
        guard.circuit.count(failed=True)
    await asyncio.sleep(5)
    probe = asyncio.create_task(guard.ask({1: False}, seconds(5)))
    await asyncio.sleep(0.1)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    platform.latency = 0.03
    assert await guard.ask({1: False}, seconds(5))
    assert guard.circuit.state == "closed"


@pytest.mark.parametrize(("asked", "held"), [(None, 1), (7.0, 7)])
@on_virtual_time
async def test_after_429_nothing_leaves_until_its_time_is_over(asked: float | None, held: float) -> None:
    platform = PlatformInMemory(script=[lambda: Throttled("slow down", retry_after=asked)])
    guard = guard_before(platform)
    await failure_of(guard)
    await asyncio.sleep(held - 0.1)
    refusal = await failure_of(guard)
    assert type(refusal) is Throttled
    assert refusal.retry_after == pytest.approx(0.1)
    await asyncio.sleep(0.1)
    assert await guard.ask({1: False}, seconds(5))
    assert len(platform.requests) == 2


@on_virtual_time
async def test_the_latch_comes_before_the_pause_and_the_pause_before_the_circuit() -> None:
    guard = guard_before(PlatformInMemory())
    for _ in range(10):
        guard.circuit.count(failed=True)
    assert type(guard.refusal()) is CircuitOpen
    guard.pause.hold(5)
    assert type(guard.refusal()) is Throttled
    guard.latch.end(guard.latch.begin(), CredentialsRejected(), accepted=False)
    assert type(guard.refusal()) is CredentialsRejected


@on_virtual_time
async def test_whoever_waits_is_told_when_the_way_is_shut() -> None:
    guard = guard_before(PlatformInMemory(script=[UnknownRefusal, CredentialsRejected]))
    told: list[bool] = []
    guard.on_shut = lambda: told.append(guard.refusal() is not None)
    await failure_of(guard)
    assert told == []
    await failure_of(guard)
    assert told == [True]
