"""The circuit on a clock that is set by hand."""

import pytest

from app.lookup.policy import CircuitBreaker
from tests.support.lookup import Now


def attempts(circuit: CircuitBreaker, *results: bool) -> None:
    """Let attempts end one after the other; True means failed."""
    for failed in results:
        circuit.end(circuit.begin(), failed)


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def circuit(now: Now) -> CircuitBreaker:
    return CircuitBreaker(now)


def test_nine_failures_do_not_open_it_and_the_tenth_does(circuit: CircuitBreaker) -> None:
    attempts(circuit, *[True] * 9)
    assert circuit.blocked_by() is None
    attempts(circuit, True)
    assert circuit.state == "open"
    blocked = circuit.blocked_by()
    assert blocked is not None
    assert blocked.retry_after == pytest.approx(5)


def test_half_of_the_attempts_must_fail(circuit: CircuitBreaker) -> None:
    attempts(circuit, *[False] * 11, *[True] * 10)
    assert circuit.state == "closed"
    attempts(circuit, True)
    assert circuit.state == "open"


def test_attempts_older_than_ten_seconds_do_not_count(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[True] * 9)
    now.seconds += 10
    attempts(circuit, *[True] * 9)
    assert circuit.state == "closed"
    now.seconds += 9.9
    attempts(circuit, True)
    assert circuit.state == "open"


def test_old_successes_do_not_hide_new_failures(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[False] * 100)
    now.seconds += 10
    attempts(circuit, *[True] * 10)
    assert circuit.state == "open"


def test_attempts_that_say_nothing_do_not_count(circuit: CircuitBreaker) -> None:
    for _ in range(100):
        circuit.end(circuit.begin(), None)
    attempts(circuit, *[True] * 10)
    assert circuit.state == "open"


def test_it_stays_open_for_five_seconds_and_then_lets_one_probe_go(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[True] * 10)
    now.seconds += 4.9
    assert circuit.blocked_by() is not None
    now.seconds += 0.1
    assert circuit.blocked_by() is None
    assert circuit.state == "half-open"
    assert circuit.begin()
    blocked = circuit.blocked_by()
    assert blocked is not None
    assert blocked.retry_after


def test_a_probe_that_succeeds_closes_it_with_an_empty_window(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[True] * 10)
    now.seconds += 5
    attempts(circuit, False)
    assert circuit.state == "closed"
    assert circuit.blocked_by() is None
    attempts(circuit, *[True] * 9)
    assert circuit.state == "closed"


def test_a_probe_that_fails_opens_it_for_five_more_seconds(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[True] * 10)
    now.seconds += 7
    attempts(circuit, True)
    now.seconds += 4.9
    assert circuit.state == "open"
    now.seconds += 0.1
    assert circuit.state == "half-open"


def test_a_probe_that_was_cancelled_makes_room_for_another(circuit: CircuitBreaker, now: Now) -> None:
    attempts(circuit, *[True] * 10)
    now.seconds += 5
    circuit.end(circuit.begin(), None)
    assert circuit.blocked_by() is None
    assert circuit.begin()


def test_attempts_that_began_before_it_opened_decide_nothing(circuit: CircuitBreaker, now: Now) -> None:
    straggler, other = circuit.begin(), circuit.begin()
    attempts(circuit, *[True] * 10)
    circuit.end(straggler, False)
    assert circuit.state == "open"
    now.seconds += 5
    probe = circuit.begin()
    circuit.end(other, True)
    assert circuit.blocked_by() is not None
    circuit.end(probe, False)
    assert circuit.state == "closed"
