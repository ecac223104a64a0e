"""The table of states, and the rule that merges two reports."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.record import STATES, Cacheable, MessageRecord, Outcome, merge

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
    assert merge(new, old, in_order=False) is (new if wins else old)


@given(RECORDS)
def test_of_two_equal_reports_the_new_one_is_kept_unless_it_is_final(record: MessageRecord) -> None:
    again = replace(record)
    assert merge(again, record, in_order=False) is (record if record.meaning.final else again)


@given(RECORDS, RECORDS)
def test_the_order_of_arrival_does_not_matter_unless_both_are_final_or_equal_in_rank(
    one: MessageRecord, two: MessageRecord
) -> None:
    if not (one.meaning.final and two.meaning.final) and one.meaning.rank != two.meaning.rank:
        assert merge(one, two, in_order=False) == merge(two, one, in_order=False)


@given(RECORDS, RECORDS, RECORDS)
def test_where_all_have_times_or_none_has_the_order_is_transitive(
    a: MessageRecord, b: MessageRecord, c: MessageRecord
) -> None:
    def wins(new: MessageRecord, old: MessageRecord) -> bool:
        return merge(new, old, in_order=False) is new

    if len({record.changed_at is None for record in (a, b, c)}) == 1 and wins(a, b) and wins(b, c):
        assert wins(a, c)


@given(st.lists(RECORDS, min_size=1, max_size=8), st.booleans())
def test_once_final_a_message_stays_in_its_state(reports: list[MessageRecord], in_order: bool) -> None:
    kept: Cacheable | None = None
    first_final = next((report.state for report in reports if report.meaning.final), None)
    for report in reports:
        kept = merge(report, kept, in_order=in_order)
    if first_final is not None:
        assert isinstance(kept, MessageRecord)
        assert kept.state == first_final


@pytest.mark.parametrize("state", ["send", "deliver", "read"])
def test_a_report_without_parts_and_price_keeps_those_that_are_known(state: str) -> None:
    known = MessageRecord(5, "send", None, 1, "10.6", detailed=True)
    kept = merge(MessageRecord(5, state, FIRST), known, in_order=False)
    assert kept == MessageRecord(5, state, FIRST, 1, "10.6", detailed=True)


def test_a_report_does_not_pass_an_unknown_price_off_as_asked_for() -> None:
    known = MessageRecord(5, "send", None, 1, None, detailed=True)
    kept = merge(MessageRecord(5, "deliver", FIRST), known, in_order=False)
    assert kept == MessageRecord(5, "deliver", FIRST)
