"""When a server is left alone, when it is tried again, and how long it is waited for."""

import asyncio
import logging
import time

import pytest

from app.lookup.cache.store_health import Health, time_limit


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def health(now: list[float]) -> Health:
    return Health(lambda: now[0], lost="it is lost", found="it is found")


def test_five_failures_in_a_row_are_trouble_and_four_are_not(health: Health) -> None:
    for _ in range(3):
        for _ in range(4):
            health.failed("late")
        health.worked()
    asked = []
    for _ in range(6):
        asked.append((health.good, health.may_try()))
        health.failed("late")
    assert asked == [(True, True)] * 5 + [(False, False)]


def test_trouble_is_tried_again_every_two_seconds_and_told_once(
    health: Health, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    health.failed("refused", at_once=True)
    for _ in range(3):
        now[0] += 1.9
        assert not health.may_try()
        now[0] += 0.2
        assert health.may_try()
        health.failed("refused")
    now[0] += 2
    health.worked()
    health.worked()
    assert health.good
    assert [record.getMessage() for record in caplog.records] == ["it is lost (refused)", "it is found"]


@pytest.mark.anyio
async def test_what_takes_longer_than_its_limit_is_ended() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(0.001):
            await asyncio.Event().wait()


@pytest.mark.anyio
async def test_a_reply_that_was_there_in_time_counts_although_we_are_late() -> None:
    ours, theirs = asyncio.Queue[int](), asyncio.get_running_loop()

    async with time_limit(0.01):
        theirs.call_later(0.005, ours.put_nowait, 1)
        theirs.call_soon(time.sleep, 0.03)  # the process is held up past the limit
        assert await ours.get() == 1


@pytest.mark.anyio
async def test_a_limit_that_was_kept_does_nothing_later() -> None:
    async with time_limit(0.001):
        pass
    await asyncio.sleep(0.005)
