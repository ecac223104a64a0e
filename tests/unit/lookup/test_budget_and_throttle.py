"""The retry budget, and the pause that the platform asks for."""

import pytest

from app.lookup.failures import Throttled
from app.lookup.policy import RetryBudget, Throttle
from tests.support.lookup import Now


def test_the_budget_starts_with_ten_retries() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]


def test_ten_first_attempts_earn_one_retry() -> None:
    budget = RetryBudget()
    while budget.take():
        pass
    for _ in range(9):
        budget.earn()
    assert not budget.take()
    for _ in range(2):
        budget.earn()
    assert budget.take()
    assert not budget.take()


def test_the_budget_never_holds_more_than_ten() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.earn()
    assert [budget.take() for _ in range(11)] == [True] * 10 + [False]


def test_nothing_leaves_until_the_platforms_pause_is_over() -> None:
    now = Now()
    pause = Throttle(now)
    assert pause.blocked_by() is None
    pause.hold(7)
    now.seconds += 3
    blocked = pause.blocked_by()
    assert isinstance(blocked, Throttled)
    assert blocked.retry_after == pytest.approx(4)
    now.seconds += 4
    assert pause.blocked_by() is None


def test_a_shorter_pause_does_not_cut_a_longer_one() -> None:
    now = Now()
    pause = Throttle(now)
    pause.hold(7)
    pause.hold(1)
    now.seconds += 5
    assert pause.blocked_by() is not None
