"""The credential lockout on a clock that is set by hand."""

import pytest

from app.lookup.failures import AccountLocked, CredentialsRejected, LookupFailure, ServerError
from app.lookup.policy import CredentialLockout
from tests.support.lookup import Now


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def lockout(now: Now) -> CredentialLockout:
    return CredentialLockout(now)


def rejected(lockout: CredentialLockout, failure: LookupFailure | None = None) -> LookupFailure:
    """One attempt that ends with a rejection."""
    failure = failure or CredentialsRejected("no", upstream_message="Incorrect login or password")
    lockout.end(lockout.begin(), failure, accepted=False)
    return failure


def seconds_left(lockout: CredentialLockout) -> float:
    blocked = lockout.blocked_by()
    assert blocked is not None
    assert blocked.retry_after is not None
    return blocked.retry_after


@pytest.mark.parametrize(("kind", "seconds"), [(CredentialsRejected, 60), (AccountLocked, 300)])
def test_nothing_leaves_for_a_while_after_a_rejection(
    lockout: CredentialLockout, now: Now, kind: type[LookupFailure], seconds: float
) -> None:
    assert rejected(lockout, kind()).retry_after == seconds, "the first answer names the full time"
    now.seconds += 20.5
    assert type(lockout.blocked_by()) is kind
    assert seconds_left(lockout) == pytest.approx(seconds - 20.5)
    now.seconds += seconds - 20.6
    assert lockout.blocked_by() is not None
    now.seconds += 0.1
    assert lockout.blocked_by() is None


def test_the_refusal_carries_the_platforms_words(lockout: CredentialLockout) -> None:
    rejected(lockout)
    blocked = lockout.blocked_by()
    assert blocked is not None
    assert blocked.upstream_message == "Incorrect login or password"


def test_when_the_time_is_over_one_request_goes_first(lockout: CredentialLockout, now: Now) -> None:
    rejected(lockout)
    now.seconds += 60
    assert lockout.begin()
    assert type(lockout.blocked_by()) is CredentialsRejected
    assert seconds_left(lockout) >= 1


def test_each_repeat_doubles_the_time_up_to_fifteen_minutes(lockout: CredentialLockout, now: Now) -> None:
    times = []
    for _ in range(7):
        times.append(rejected(lockout).retry_after)
        now.seconds += times[-1] or 0
    assert times == [60, 120, 240, 480, 900, 900, 900]


def test_a_shorter_longest_time_bounds_the_first_and_every_later_one(now: Now) -> None:
    lockout = CredentialLockout(now, longest=3.0)
    for kind in (CredentialsRejected, AccountLocked, CredentialsRejected):
        assert rejected(lockout, kind()).retry_after == 3
        now.seconds += 3.1
        assert lockout.blocked_by() is None


def test_a_locked_account_doubles_from_three_hundred_seconds(lockout: CredentialLockout, now: Now) -> None:
    assert rejected(lockout, AccountLocked()).retry_after == 300
    now.seconds += 300
    assert rejected(lockout, AccountLocked()).retry_after == 600


def test_a_lock_after_a_wrong_password_takes_at_least_its_own_time(lockout: CredentialLockout, now: Now) -> None:
    rejected(lockout)
    now.seconds += 60
    assert rejected(lockout, AccountLocked()).retry_after == 300


def test_rejections_that_were_in_flight_together_do_not_double(lockout: CredentialLockout, now: Now) -> None:
    attempts = [lockout.begin() for _ in range(4)]
    for probe in attempts:
        failure = CredentialsRejected()
        lockout.end(probe, failure, accepted=False)
        assert failure.retry_after == 60
        now.seconds += 0.1
    assert seconds_left(lockout) == pytest.approx(59.6)


def test_a_lock_reported_by_a_request_in_flight_takes_its_own_time(lockout: CredentialLockout) -> None:
    password, lock = lockout.begin(), lockout.begin()
    lockout.end(password, CredentialsRejected(), accepted=False)
    lockout.end(lock, AccountLocked(), accepted=False)
    assert type(lockout.blocked_by()) is AccountLocked
    assert seconds_left(lockout) == 300


def test_a_request_in_flight_that_is_accepted_does_not_release_it(lockout: CredentialLockout) -> None:
    first, second = lockout.begin(), lockout.begin()
    lockout.end(first, CredentialsRejected(), accepted=False)
    lockout.end(second, None, accepted=True)
    assert seconds_left(lockout) == 60


def test_the_request_that_goes_first_releases_it_and_the_doubling(lockout: CredentialLockout, now: Now) -> None:
    rejected(lockout)
    now.seconds += 60
    rejected(lockout)
    now.seconds += 120
    lockout.end(lockout.begin(), None, accepted=True)
    assert lockout.blocked_by() is None
    assert not lockout.begin()
    assert rejected(lockout).retry_after == 60


@pytest.mark.parametrize("failure", [ServerError(), None])
def test_a_probe_that_says_nothing_about_the_credentials_makes_room_for_another(
    lockout: CredentialLockout, now: Now, failure: LookupFailure | None
) -> None:
    rejected(lockout)
    now.seconds += 60
    lockout.end(lockout.begin(), failure, accepted=False)
    assert lockout.blocked_by() is None
    assert lockout.begin()
    assert rejected(lockout).retry_after == 120, "and the next rejection is a repeat"


def test_a_changed_secret_releases_it_at_once(lockout: CredentialLockout, now: Now) -> None:
    rejected(lockout)
    lockout.release()
    assert lockout.blocked_by() is None
    assert not lockout.begin()


def test_a_changed_secret_releases_it_while_a_probe_is_out(lockout: CredentialLockout, now: Now) -> None:
    rejected(lockout)
    now.seconds += 60
    lockout.begin()
    lockout.release()
    assert lockout.blocked_by() is None
    assert rejected(lockout).retry_after == 60
