"""The workers: what is sent, sent again and not sent, and when the next request leaves."""

import asyncio
from collections.abc import Mapping

import pytest

from app.lookup.dispatcher import UNPROVEN_CONCURRENCY
from app.lookup.engine import Engine
from app.lookup.failures import (
    AccountLocked,
    CircuitOpen,
    CredentialsRejected,
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
from tests.support.lookup import (
    LATENCY,
    PlatformInMemory,
    ReplyInMemory,
    ask,
    assert_nothing_left,
    at_once,
    engine_before,
    hang,
    kinds,
    warmed,
)
from tests.support.virtual_time import loop, on_virtual_time

RETRIED_AND_COUNTED = [Unreachable, TimedOut, ServerError]
ONLY_COUNTED = [TlsFailure, InvalidReply, UnexpectedStatus]
NEITHER = [RequestRejected, UnknownRefusal, CredentialsRejected, AccountLocked, Throttled]
PAUSE = 0.1


def engine_with_pause(platform: PlatformInMemory, **options: float) -> Engine:
    def jitter(least: float, most: float) -> float:
        assert (least, most) == (0.05, 0.25)
        return PAUSE

    return engine_before(platform, jitter=jitter, **options)


async def failure_of(engine: Engine, id_: int = 1) -> LookupFailure:
    (answer,) = await ask(engine, id_)
    assert isinstance(answer, LookupFailure)
    return answer


def attempts(engine: Engine) -> tuple[int, int]:
    """Failures and attempts in the circuit breaker's window."""
    return engine.policy.circuit_breaker._failures, len(engine.policy.circuit_breaker._attempts)


# --- attempts ---


@pytest.mark.parametrize("kind", RETRIED_AND_COUNTED)
@on_virtual_time
async def test_a_failure_that_may_pass_is_retried_once_after_the_jitter(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(script=[kind])
    started = loop().time()
    assert kinds(await ask(engine_with_pause(platform), 1)) == {"deliver"}
    assert [request.at - started for request in platform.requests] == pytest.approx([0, LATENCY + PAUSE])


@pytest.mark.parametrize("kind", RETRIED_AND_COUNTED)
@on_virtual_time
async def test_a_second_failure_is_the_answer_and_both_count(kind: type[LookupFailure]) -> None:
    platform = PlatformInMemory(failing=kind)
    engine = engine_with_pause(platform)
    assert type(await failure_of(engine)) is kind
    assert len(platform.requests) == 2
    assert attempts(engine) == (2, 2)


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("kind", ONLY_COUNTED)
@on_virtual_time
async def test_a_failure_that_a_retry_cannot_mend_only_counts(kind: type[LookupFailure], read: bool) -> None:
    platform = PlatformInMemory(failing=kind, failures_are_read=read)
    engine = engine_with_pause(platform)
    await failure_of(engine)
    assert len(platform.requests) == 1
    assert attempts(engine) == (1, 1)


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("kind", NEITHER)
@on_virtual_time
async def test_a_refusal_is_neither_retried_nor_counted(kind: type[LookupFailure], read: bool) -> None:
    platform = PlatformInMemory(failing=kind, failures_are_read=read)
    engine = engine_with_pause(platform)
    await failure_of(engine)
    assert len(platform.requests) == 1
    assert attempts(engine) == (0, 0)


@on_virtual_time
async def test_an_extra_question_is_not_retried() -> None:
    platform = PlatformInMemory(unknown={2}, script=[None, ServerError])
    assert kinds(await ask(engine_with_pause(platform), [1, 2])) == {"deliver", "ServerError"}
    assert len(platform.requests) == 2


@on_virtual_time
async def test_without_budget_there_is_no_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = engine_with_pause(platform)
    while engine.policy.retry_budget.take():
        pass
    await failure_of(engine)
    assert len(platform.requests) == 1


@pytest.mark.parametrize(("deadline", "sent"), [(0.12, 1), (0.14, 2)])
@on_virtual_time
async def test_a_retry_needs_time_left_after_its_pause(deadline: float, sent: int) -> None:
    platform = PlatformInMemory(failing=ServerError)
    started = loop().time()
    engine = engine_with_pause(platform, deadline=deadline)
    await failure_of(engine)
    assert loop().time() - started <= deadline + 0.001
    await assert_nothing_left(engine)
    assert len(platform.requests) == sent


@on_virtual_time
async def test_a_retry_is_cut_to_the_time_left() -> None:
    latencies = iter([1.0, 3600.0])
    platform = PlatformInMemory(latency=lambda: next(latencies), script=[ServerError])
    started = loop().time()
    engine = engine_with_pause(platform, deadline=2.5)
    assert (await failure_of(engine)).slug == "upstream-timeout"
    assert loop().time() - started == pytest.approx(2.5)
    await assert_nothing_left(engine)


@on_virtual_time
async def test_an_attempt_ends_at_its_time_limit() -> None:
    platform = PlatformInMemory(latency=hang)
    engine = engine_with_pause(platform)
    while engine.policy.retry_budget.take():
        pass
    started = loop().time()
    assert type(await failure_of(engine)) is TimedOut
    assert loop().time() - started == pytest.approx(2.0)
    assert platform.in_flight == 0


@pytest.mark.parametrize(("share", "counted"), [(0.25, 0), (0.45, 0), (0.75, 1)])
@on_virtual_time
async def test_an_attempt_cut_short_by_the_deadline_says_little_about_the_platform(share: float, counted: int) -> None:
    platform = PlatformInMemory(latency=hang)
    engine = engine_with_pause(platform, deadline=2.0 * share)
    await failure_of(engine)
    await asyncio.sleep(0.1)
    assert attempts(engine) == (counted, counted)
    assert len(platform.requests) == 1


@on_virtual_time
async def test_an_open_circuit_breaker_means_no_request_and_no_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = engine_with_pause(platform)
    for _ in range(9):
        engine.policy.circuit_breaker.count(failed=True)
    assert type(await failure_of(engine)) is ServerError
    assert type(await failure_of(engine)) is CircuitOpen
    assert len(platform.requests) == 1


@on_virtual_time
async def test_a_circuit_breaker_that_opens_during_the_jitter_stops_the_retry() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = engine_with_pause(platform)
    asking = asyncio.create_task(failure_of(engine))
    await asyncio.sleep(LATENCY + PAUSE / 2)
    for _ in range(10):
        engine.policy.circuit_breaker.count(failed=True)
    assert type(await asking) is ServerError
    assert len(platform.requests) == 1


@on_virtual_time
async def test_one_probe_goes_and_is_not_retried() -> None:
    platform = PlatformInMemory(failing=ServerError)
    engine = engine_with_pause(platform, batch_size=1)
    for _ in range(10):
        engine.policy.circuit_breaker.count(failed=True)
    await asyncio.sleep(5)
    found = await at_once(engine, range(3))
    assert [type(each.answer) for each in found] == [ServerError, CircuitOpen, CircuitOpen]
    assert len(platform.requests) == 1
    assert engine.policy.circuit_breaker.state == "open"


@pytest.mark.parametrize("kind", [UnknownRefusal, Throttled])
@on_virtual_time
async def test_a_probe_that_is_refused_shows_that_the_platform_is_back(kind: type[LookupFailure]) -> None:
    engine = engine_with_pause(PlatformInMemory(failing=kind))
    for _ in range(10):
        engine.policy.circuit_breaker.count(failed=True)
    await asyncio.sleep(5)
    await failure_of(engine)
    assert engine.policy.circuit_breaker.state == "closed"


@pytest.mark.parametrize(("asked", "held"), [(None, 1), (7.0, 7)])
@on_virtual_time
async def test_after_429_nothing_leaves_until_its_time_is_over(asked: float | None, held: float) -> None:
    platform = PlatformInMemory(script=[lambda: Throttled("slow down", retry_after=asked)])
    engine = engine_with_pause(platform)
    await failure_of(engine)
    await asyncio.sleep(held - 0.1)
    refusal = await failure_of(engine)
    assert type(refusal) is Throttled
    assert refusal.retry_after == pytest.approx(0.1)
    await asyncio.sleep(0.1)
    assert kinds(await ask(engine, 1)) == {"deliver"}
    assert len(platform.requests) == 2


# --- places ---


class Noting(PlatformInMemory):
    """Notes sending and reading in the order in which they happen."""

    async def send(self, asked: Mapping[int, bool]) -> ReplyInMemory | LookupFailure:
        self.steps.append(f"send {min(asked)}")
        return await super().send(asked)

    async def read(self, asked: Mapping[int, bool], reply: ReplyInMemory) -> Mapping[int, object]:  # type: ignore[override]  # what it returns is not looked at
        self.steps.append(f"read {min(asked)}")
        return await super().read(asked, reply)  # type: ignore[return-value]  # likewise

    @property
    def steps(self) -> list[str]:
        noted: list[str] = self.__dict__.setdefault("noted", [])
        return noted


@on_virtual_time
async def test_the_next_batch_leaves_before_the_reply_is_read() -> None:
    platform = Noting()
    engine = await warmed(platform, max_in_flight=1, batch_size=2)
    platform.steps.clear()
    await ask(engine, [1, 2, 3])
    assert platform.steps == ["send 1", "send 3", "read 1", "read 3"]
    await assert_nothing_left(engine)


@pytest.mark.parametrize("refusal", [CredentialsRejected, UnknownRefusal])
@on_virtual_time
async def test_a_reply_that_may_be_an_error_is_read_before_the_next_batch_leaves(refusal: type[LookupFailure]) -> None:
    platform = Noting(refuses=lambda _: True, refusal=refusal)
    engine = await warmed(platform, max_in_flight=1, batch_size=1)
    platform.steps.clear()
    await ask(engine, [1, 2])
    assert platform.steps[:2] == ["send 1", "read 1"]


@on_virtual_time
async def test_credentials_that_are_not_proven_are_not_sent_again_before_the_reply_is_read() -> None:
    platform = PlatformInMemory(failing=CredentialsRejected, failures_are_read=True)
    engine = engine_before(platform, batch_size=1)
    assert kinds(await ask(engine, range(8))) == {"CredentialsRejected"}
    assert len(platform.requests) == UNPROVEN_CONCURRENCY
    await assert_nothing_left(engine)


@on_virtual_time
async def test_as_many_replies_may_be_unread_as_there_are_places() -> None:
    class Instant(PlatformInMemory):
        async def send(self, asked: Mapping[int, bool]) -> ReplyInMemory | LookupFailure:
            unread.append(len(engine.dispatcher._readers))
            return await super().send(asked)

    unread: list[int] = []
    platform = Instant()
    engine = await warmed(platform, max_in_flight=2, batch_size=1)
    platform.latency = 0.0
    await ask(engine, range(100))
    assert max(unread) == 2
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_follow_up_waits_for_a_place_and_goes_before_what_is_queued() -> None:
    platform = PlatformInMemory(unknown={1})
    engine = await warmed(platform, max_in_flight=1, batch_size=2)
    await ask(engine, [1, 2, 3, 4, 5, 6])
    first, second, again, last = platform.requests
    assert (first.ids, second.ids, again.ids[0], last.ids) == ([1, 2], [3, 4], 1, [5, 6])
    assert again.at == pytest.approx(second.at + LATENCY)
    assert platform.most_in_flight == 1


@on_virtual_time
async def test_the_requests_of_one_batch_leave_a_turn_apart() -> None:
    turn = 0
    departures: list[int] = []

    class Watched(PlatformInMemory):
        async def send(self, asked: Mapping[int, bool]) -> ReplyInMemory | LookupFailure:
            departures.append(turn)
            return await super().send(asked)

    engine = await warmed(Watched(), batch_size=1)
    asking = asyncio.create_task(ask(engine, range(4)))
    departures.clear()
    for turn in range(20):  # noqa: B007 - read when a request leaves
        await asyncio.sleep(0)
    assert [each - departures[0] for each in departures] == [0, 1, 2, 3]
    await asking


@on_virtual_time
async def test_what_is_asked_while_the_last_worker_ends_is_sent() -> None:
    platform = PlatformInMemory(latency=0.0)
    engine = await warmed(platform, max_in_flight=1)
    for turns in range(12):
        asking = asyncio.create_task(ask(engine, 100 + turns))
        for _ in range(turns):
            await asyncio.sleep(0)
        assert kinds(await ask(engine, 200 + turns)) == {"deliver"}
        await asking


@on_virtual_time
async def test_where_the_credentials_change_no_more_than_two_requests_are_sent_beside_those_in_flight() -> None:
    platform = PlatformInMemory(latency=1.0)
    engine = await warmed(platform, batch_size=1)
    asking = asyncio.create_task(ask(engine, range(12)))
    await asyncio.sleep(0.5)
    engine.credentials_changed()
    platform.failing = CredentialsRejected
    assert "CredentialsRejected" in kinds(await asking)
    assert len(platform.requests) <= 4 + 2
    await assert_nothing_left(engine)
