"""The table of states, and which of two reports is the more recent."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.states import STATES, MessageRecord, Outcome, supersedes

DOCUMENTED = {
    "send": ("pending", False),
    "partly_deliver": ("pending", False),
    "deliver": ("delivered", False),
    "read": ("delivered", True),
    "not_deliver": ("failed", True),
    "expired": ("failed", True),
}

TIMES = st.none() | st.integers(0, 3).map(lambda second: datetime(2021, 1, 1, 0, 0, second, tzinfo=UTC))
RECORDS = st.builds(lambda word, time: MessageRecord(5, word, time), st.sampled_from([*STATES, "delayed"]), TIMES)
FIRST, LATER = datetime(2021, 1, 1, tzinfo=UTC), datetime(2021, 1, 2, tzinfo=UTC)


def test_the_table_is_the_documented_one() -> None:
    assert {word: (str(state.outcome), state.final) for word, state in STATES.items()} == DOCUMENTED
    assert all(state.meaning for state in STATES.values())


def test_outcomes_are_a_closed_set() -> None:
    assert {str(outcome) for outcome in Outcome} == {"pending", "delivered", "failed", "unknown"}


@pytest.mark.parametrize("word", ["delayed", "DELIVER", "", "доставлено"])
def test_a_word_that_is_not_documented_is_unknown_and_never_final(word: str) -> None:
    meaning = MessageRecord(5, word).meaning
    assert (meaning.outcome, meaning.final) == (Outcome.UNKNOWN, False)


@pytest.mark.parametrize(
    ("new", "old", "wins"),
    [
        (MessageRecord(5, "read", FIRST), MessageRecord(5, "deliver", LATER), True),
        (MessageRecord(5, "deliver", LATER), MessageRecord(5, "read", FIRST), False),
        (MessageRecord(5, "expired", LATER), MessageRecord(5, "read", FIRST), False),
        (MessageRecord(5, "deliver", LATER), MessageRecord(5, "deliver", FIRST), True),
        (MessageRecord(5, "deliver", FIRST), MessageRecord(5, "partly_deliver", LATER), False),
        (MessageRecord(5, "partly_deliver"), MessageRecord(5, "send"), True),
        (MessageRecord(5, "send"), MessageRecord(5, "deliver", FIRST), False),
        (MessageRecord(5, "delayed"), MessageRecord(5, "send"), False),
        (MessageRecord(5, "send"), MessageRecord(5, "delayed"), True),
    ],
)
def test_final_wins_then_the_later_time_then_the_order_of_the_states(
    new: MessageRecord, old: MessageRecord, wins: bool
) -> None:
    assert supersedes(new, old) is wins


@given(RECORDS)
def test_an_equal_report_supersedes(record: MessageRecord) -> None:
    assert supersedes(record, record)


@given(RECORDS, RECORDS)
def test_of_two_reports_at_least_one_supersedes_unless_both_are_final(one: MessageRecord, two: MessageRecord) -> None:
    if not (one.meaning.final and two.meaning.final):
        assert supersedes(one, two) or supersedes(two, one)


@given(RECORDS, RECORDS)
def test_nothing_but_the_same_state_supersedes_a_final_one(new: MessageRecord, old: MessageRecord) -> None:
    if old.meaning.final:
        assert supersedes(new, old) is (new.state == old.state)
    elif new.meaning.final:
        assert supersedes(new, old)


@given(RECORDS, RECORDS, RECORDS)
def test_where_all_have_times_or_none_has_the_order_is_transitive(
    a: MessageRecord, b: MessageRecord, c: MessageRecord
) -> None:
    if len({record.changed_at is None for record in (a, b, c)}) == 1 and supersedes(a, b) and supersedes(b, c):
        assert supersedes(a, c)


@given(st.lists(RECORDS, min_size=1, max_size=8))
def test_once_final_a_message_stays_in_its_state(reports: list[MessageRecord]) -> None:
    kept = reports[0]
    for report in reports[1:]:
        if supersedes(report, kept):
            assert not kept.meaning.final or report.state == kept.state
            kept = report
    assert kept.meaning.final == any(report.meaning.final for report in reports)
