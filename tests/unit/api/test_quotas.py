"""The token buckets, on a clock that the test moves."""

from hypothesis import given
from hypothesis import strategies as st

from app.api.access import Quotas


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_new_caller_has_a_burst_of_twice_the_rate() -> None:
    quotas = Quotas(Clock(), rate=5)
    assert [quotas.take("shop", 1) == 0 for _ in range(12)] == [True] * 10 + [False] * 2


def test_an_empty_bucket_says_when_it_holds_enough() -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=4)
    assert quotas.take("shop", 8) == 0
    assert quotas.take("shop", 1) == 0.25
    assert quotas.take("shop", 6) == 1.5
    clock.now = 1.5
    assert quotas.take("shop", 6) == 0


def test_a_batch_larger_than_the_bucket_needs_a_full_one_and_leaves_it_below_zero() -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=10)
    assert quotas.take("shop", 1) == 0
    assert quotas.take("shop", 1000) == 0.1
    clock.now = 0.1
    assert quotas.take("shop", 1000) == 0
    assert quotas.take("shop", 1) == 98.1  # from 20 - 1000 up to 1, at 10 a second
    assert quotas.take("shop", 1000) == 100


def test_a_refusal_takes_nothing() -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=1)
    assert quotas.take("shop", 2) == 0
    assert [quotas.take("shop", 1) for _ in range(5)] == [1] * 5


def test_callers_do_not_pay_for_each_other() -> None:
    quotas = Quotas(Clock(), rate=1)
    assert quotas.take("shop", 1000) == 0
    assert quotas.take("crm", 2) == 0
    assert quotas.take("shop", 1) > 0


def test_a_rate_below_one_id_a_second_still_lets_single_ids_pass() -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=0.125)
    assert quotas.take("shop", 1) == 0
    assert quotas.take("shop", 1) == 8
    clock.now = 8
    assert quotas.take("shop", 1) == 0


# Numbers that floating point has exactly, so that the model can be compared without tolerance.
STEPS = st.lists(st.tuples(st.integers(0, 4096).map(lambda n: n / 64), st.integers(1, 1000)), max_size=30)
RATES = st.integers(-3, 8).map(lambda n: 2.0**n)


@given(RATES, STEPS)
def test_the_arithmetic_is_that_of_the_contract(rate: float, steps: list[tuple[float, int]]) -> None:
    clock = Clock()
    quotas = Quotas(clock, rate)
    burst = level = 2 * rate
    for passed, ids in steps:
        clock.now += passed
        level = min(burst, level + passed * rate)
        wait = quotas.take("shop", ids)
        needed = min(ids, burst)
        if level >= needed:
            assert wait == 0
            level -= ids
        else:
            assert wait == (needed - level) / rate


@given(st.floats(0.001, 1e6), st.floats(0, 1e8), st.lists(st.integers(1, 1000), max_size=20))
def test_whoever_waits_as_long_as_told_is_let_in(rate: float, start: float, sizes: list[int]) -> None:
    clock = Clock()
    clock.now = start
    quotas = Quotas(clock, rate)
    for ids in sizes:
        wait = quotas.take("shop", ids)
        if wait:
            clock.now += wait
            assert quotas.take("shop", ids) == 0


def test_buckets_that_are_full_again_are_forgotten() -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=1)
    for number in range(1000):
        quotas.take(f"caller {number}", 1)
    clock.now = 2
    for _ in range(1000):
        quotas.take("shop", 1)
    assert len(quotas) == 1


def test_memory_is_bounded_and_the_least_recently_used_bucket_goes_first() -> None:
    quotas = Quotas(Clock(), rate=1, max_callers=100)
    for number in range(100):
        quotas.take(f"caller {number}", 2)
    quotas.take("caller 0", 1)
    quotas.take("one more", 2)
    assert len(quotas) == 100
    assert quotas.take("caller 0", 1) > 0
    assert quotas.take("caller 1", 1) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10), st.floats(0, 3)), max_size=200))
def test_memory_stays_bounded_whoever_comes(steps: list[tuple[int, int, float]]) -> None:
    clock = Clock()
    quotas = Quotas(clock, rate=2, max_callers=8)
    for caller, ids, passed in steps:
        clock.now += passed
        quotas.take(str(caller), ids)
        assert len(quotas) <= 8
