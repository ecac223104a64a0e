"""The problem catalogue against the contract's table, and the failures against the catalogue."""

from collections.abc import Iterator

import pytest

from app.api.catalogue import CATALOGUE, COMMON, LOOKUP
from app.lookup.failures import AboutOneMessage, LookupFailure

# Section 2 of the contract: slug, status, whether Retry-After comes with it.
CONTRACT = [
    ("invalid-request", 422, False),
    ("malformed-request", 400, False),
    ("request-timeout", 408, False),
    ("request-head-too-large", 431, False),
    ("request-too-large", 413, False),
    ("route-not-found", 404, False),
    ("method-not-allowed", 405, False),
    ("unauthenticated", 401, False),
    ("rate-limited", 429, True),
    ("message-not-found", 404, False),
    ("upstream-credentials-rejected", 502, True),
    ("upstream-account-locked", 503, True),
    ("upstream-rejected-request", 502, False),
    ("upstream-rejected", 502, False),
    ("upstream-error", 502, False),
    ("upstream-throttled", 503, True),
    ("upstream-invalid-reply", 502, False),
    ("upstream-unreachable", 502, False),
    ("upstream-timeout", 504, False),
    ("upstream-unavailable", 503, True),
    ("overloaded", 503, True),
    ("internal-error", 500, False),
]

# The way up from each failure: what is retried, counted by the circuit (always, or as the reply to one id), splits a
# batch, or is kept in the cache (section 4).
FAILURES = {
    "MessageNotFound": ("message-not-found", "splits kept"),
    "CredentialsRejected": ("upstream-credentials-rejected", ""),
    "AccountLocked": ("upstream-account-locked", ""),
    "RequestRejected": ("upstream-rejected-request", "splits"),
    "UnknownRefusal": ("upstream-rejected", "splits"),
    "EmptyReply": ("upstream-rejected", "counted_alone splits"),
    "EntryRefused": ("upstream-rejected", "splits kept"),
    "EntryRejected": ("upstream-rejected-request", "splits kept"),
    "RepeatedRequest": ("upstream-throttled", ""),
    "Throttled": ("upstream-throttled", ""),
    "Unreachable": ("upstream-unreachable", "retried counted"),
    "TlsFailure": ("upstream-unreachable", "counted"),
    "TimedOut": ("upstream-timeout", "retried counted"),
    "ServerError": ("upstream-error", "retried counted"),
    "UnexpectedStatus": ("upstream-error", "counted"),
    "InvalidReply": ("upstream-invalid-reply", "counted"),
    "DeadlinePassed": ("upstream-timeout", ""),
    "CircuitOpen": ("upstream-unavailable", ""),
    "Overloaded": ("overloaded", ""),
}


def concrete(kind: type[LookupFailure]) -> Iterator[type[LookupFailure]]:
    """The failure classes that stand for a problem, and not only for a group of them."""
    for each in kind.__subclasses__():
        if each.slug != LookupFailure.slug:
            yield each
        yield from concrete(each)


def test_the_catalogue_is_the_contracts_table() -> None:
    assert [(row.slug, row.status, row.retry_after) for row in CATALOGUE.values()] == CONTRACT


@pytest.mark.parametrize("slug", CATALOGUE)
def test_every_row_says_cause_and_what_to_do(slug: str) -> None:
    row = CATALOGUE[slug]
    for text in (row.detail, row.cause, row.caller, row.operator):
        assert text.endswith(".")
        assert text.count("`") % 2 == 0
    assert not row.title.endswith(".")


def test_every_failure_of_a_lookup_has_the_consequences_of_the_contract() -> None:
    actual = {}
    for kind in concrete(LookupFailure):
        flags = [flag for flag in ("retried", "counted", "counted_alone", "splits") if getattr(kind, flag)]
        flags += ["kept"] * issubclass(kind, AboutOneMessage)
        actual[kind.__name__] = (kind.slug, " ".join(flags))
    assert actual == FAILURES


def test_the_routes_lists_name_rows_of_the_catalogue() -> None:
    assert set(COMMON) | set(LOOKUP) <= CATALOGUE.keys()
    assert {slug for slug, _ in FAILURES.values()} <= set(LOOKUP)
