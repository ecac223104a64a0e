"""What stands in Redis can be read again, and what cannot is never a wrong answer."""

import contextlib
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.cache.redis_values import SharedAnswer, decode, encode, encode_seen
from app.lookup.failures import CACHEABLE, EntryRefused, EntryRejected, LookupFailure, MessageNotFound
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import MAX_MESSAGE_ID, STATES, Cacheable, MessageRecord

LIFETIMES = Lifetimes(pending=2, delivered=60, final=86_400, not_found=2)

zones = st.integers(-720, 840).map(lambda minutes: timezone(timedelta(minutes=minutes)))
records = st.builds(
    MessageRecord,
    st.integers(1, MAX_MESSAGE_ID),
    st.sampled_from(list(STATES)) | st.from_regex(r"x[A-Za-z0-9_-]{0,30}", fullmatch=True),
    st.none() | st.datetimes(timezones=zones).map(lambda moment: moment.replace(microsecond=0)),
    st.none() | st.integers(0, 999_999_999),
    st.none() | st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", fullmatch=True),
    st.booleans(),
)


@given(records)
def test_a_record_is_read_as_it_was_written(record: MessageRecord) -> None:
    lifetime = int(LIFETIMES.of(record) * 1000)
    told = decode(record.id, b"%d %s" % (lifetime - 500, encode(record, lifetime)))

    assert told == SharedAnswer(record, 0.5, None)
    assert isinstance(told.answer, MessageRecord)
    if record.changed_at is not None and told.answer.changed_at is not None:
        assert told.answer.changed_at.isoformat() == record.changed_at.isoformat()


def test_how_long_a_state_had_lasted_stands_before_the_value() -> None:
    value = encode(MessageRecord(1, "send"), 62_000)
    assert decode(1, b"60500 34000 " + value) == SharedAnswer(MessageRecord(1, "send"), 1.5, 34.0)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (MessageRecord(1, "send"), b"34000|p|send"),
        (MessageRecord(1, "a-new_word", None, 1, "10.6", detailed=True), b"34000|p|a-new_word"),
        (MessageRecord(1, "deliver"), b"34000|d|deliver"),
        (MessageRecord(1, "read"), b""),
        (MessageRecord(1, "partly_deliver", datetime(2021, 4, 26, 15, 15, 3, tzinfo=UTC)), b""),
        (MessageNotFound(upstream_message="No | such"), b"34000|n|No | such"),
        (MessageNotFound(), b"34000|n|"),
        (EntryRefused(upstream_message="No."), b"34000|e|upstream-rejected No."),
    ],
)
def test_how_long_a_state_had_lasted_is_told_where_it_has_no_time_and_no_end(answer: Cacheable, seen: bytes) -> None:
    assert encode_seen(answer, 34_000) == seen


def test_the_examples_in_the_modules_words() -> None:
    moment = datetime(2021, 4, 26, 15, 15, 3, tzinfo=timezone(timedelta(hours=3)))
    record = MessageRecord(1, "read", moment, 1, "10.6000000", detailed=True)

    assert encode(record, 86_400_000) == b"v1f+|86400000|2021-04-26T15:15:03+03:00|1|10.6000000|read"
    assert encode(MessageNotFound(), 2000) == b"v1n-|2000||||"


TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=200).filter(str.strip)


@given(st.sampled_from(list(CACHEABLE)), TEXTS)
def test_an_error_text_of_one_message_is_read_as_it_was_written(slug: str, text: str | None) -> None:
    failure = CACHEABLE[slug]("why", upstream_message=text)
    told = decode(1, b"500 " + encode(failure, 2000))
    assert told is not None
    assert type(told.answer) is type(failure)
    assert isinstance(told.answer, LookupFailure)
    assert told.answer.upstream_message == text
    assert told.age == 1.5


# What version 0.1 reads; it overwrites what it cannot read, unless that begins like another version's final state.
READ_BY_0_1 = re.compile(rb"v1[pdfn][+-]\|[0-9]{1,15}\|[0-9T:+.-]*\|[0-9]{0,9}\|(-?[0-9.]+)?\|.*", re.DOTALL)


def test_version_0_1_reads_an_unknown_id_as_such_and_no_other_error_text_at_all() -> None:
    assert READ_BY_0_1.fullmatch(encode(MessageNotFound(upstream_message="Сообщение | нет"), 2000))
    for kind in (EntryRefused, EntryRejected):
        value = encode(kind(upstream_message="x"), 2000)
        assert READ_BY_0_1.fullmatch(value) is None
        assert not re.match(rb"v\d+f", value)


@pytest.mark.parametrize("state", ["DELIVRD", "READ", "new", "Сообщение с таким ID не принималось", " deliver"])
def test_what_version_0_1_took_for_a_state_is_a_miss(state: str) -> None:
    assert decode(1, f"1000 v1p+|2000||1|10.6|{state}".encode()) is None


@given(
    st.one_of(st.binary(), st.none(), st.integers(), st.lists(st.binary()), st.from_regex(r"[0-9]+ v1[pdfne][+-].*"))
)
def test_anything_else_is_refused_or_read_and_never_a_crash(found: object) -> None:
    for each in (found, found.encode() if isinstance(found, str) else found):
        with contextlib.suppress(ValueError):
            decode(1, each)


@pytest.mark.parametrize(
    "found",
    [
        b"v1f+|86400000||||read",
        b"-1 v1f+|86400000||||read",
        b"10 v2f+|86400000||||read",
        b"10 v1x+|86400000||||read",
        b"10 v1f+|86400000||||",
        b"10 v1f+|86400000|2021-04-26T15:15:03|||read",
        b"10 v1f+|86400000|yesterday|||read",
        b"10 v1f+|86400000||one||read",
        b"10 v1f+|86400000||||re\xffad",
        b"10 v1e-|2000||||upstream-fancied No.",
        b"10 v1e-|2000||||",
    ],
)
def test_half_a_value_is_none(found: bytes) -> None:
    with pytest.raises(ValueError, match=re.compile("")):
        decode(1, found)
