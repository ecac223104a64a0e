"""The array format: every case of ``wire_cases`` read directly, and once more over a real socket."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.failures import InvalidReply, LookupFailure
from app.lookup.record import Answer, MessageRecord
from app.upstream.body import LONG_BODY, load, text_of
from app.upstream.client import UpstreamClient
from app.upstream.credentials import Account, Credentials
from app.upstream.errors import clean_message
from app.upstream.wire import decode, encode
from tests.support.asking import ask
from tests.support.platform import TOKEN, FakePlatform, reply
from tests.unit.upstream.wire_cases import CASES, MOSCOW, Case


def shown(answers: dict[int, Answer]) -> dict[int, MessageRecord | str]:
    """Answers in the form of the cases: failures by their slugs."""
    return {id_: each.slug if isinstance(each, LookupFailure) else each for id_, each in answers.items()}


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_a_reply_is_read_as_its_case_says(case: Case) -> None:
    unreadable: list[str] = []
    raw_words: list[str] = []
    messages: set[str | None] = set()
    try:
        read = decode(case.status, load(text_of(case.body)), case.asked, MOSCOW, lambda text: clean_message(text, []))
        outcome: object = shown(read.answers)
        unreadable, raw_words = read.unreadable, read.raw_words
        messages = {each.upstream_message for each in read.answers.values() if isinstance(each, LookupFailure)}
    except LookupFailure as failure:
        outcome = failure.slug
        messages = {failure.upstream_message}
    assert outcome == case.expected
    assert unreadable == case.unreadable
    assert raw_words == case.raw_words
    assert case.message is None or messages == {case.message}


@pytest.mark.anyio
async def test_every_reply_is_read_the_same_over_a_real_socket() -> None:
    platform = FakePlatform()
    async with platform.serve() as url:
        client = UpstreamClient(
            url,
            Account(lambda: Credentials({"token": TOKEN})),
            MOSCOW,
            connect_timeout=5,
            attempt_timeout=10,
        )
        for case in CASES:
            platform.always = reply(case.body, case.status)
            try:
                outcome: object = shown(await ask(client, case.asked))
            except LookupFailure as failure:
                outcome = failure.slug
            assert outcome == case.expected, case.label
            assert platform.requests[-1].ids == list(case.asked)
        await client.aclose()
    assert platform.violations == []


def test_the_labels_of_the_cases_are_distinct() -> None:
    assert len({case.label for case in CASES}) == len(CASES)


def test_the_request_with_a_token_is_the_documented_one() -> None:
    body = json.loads(encode({82216: True, 5: False}, {"token": "t"}))
    assert body == [{"token": "t", "id_sms": 82216, "detail": 1}, {"token": "t", "id_sms": 5, "detail": 0}]
    assert all(type(each[key]) is int for each in body for key in ("id_sms", "detail"))


def test_the_request_with_login_and_password_is_the_documented_one() -> None:
    assert json.loads(encode({5: True}, {"login": "Логин", "password": 'a"\\b'})) == [
        {"login": "Логин", "password": 'a"\\b', "id_sms": 5, "detail": 1}
    ]


def test_the_largest_id_travels_exactly() -> None:
    assert b'"id_sms":9007199254740991,' in encode({2**53 - 1: False}, {"token": "t"})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id_sms", "state", "error", "price", "x"]) | st.text(max_size=3), inner)
    ),
    max_leaves=12,
)


@given(JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60), st.sampled_from([200, 400]))
def test_any_reply_is_answers_for_the_asked_ids_or_a_failure(body: bytes, status: int) -> None:
    asked = {1: True, 5: False}
    try:
        read = decode(status, load(text_of(body)), asked, MOSCOW, lambda text: text)
    except LookupFailure:
        return
    assert read.answers.keys() <= asked.keys()


TEXTS = st.text(st.sampled_from("aя😀, :[]{}'"), max_size=5).flatmap(
    lambda text: st.integers(1, 9000).map(lambda times: text * times)
)


def test_a_word_that_a_thousand_entries_have_is_searched_for_credentials_once() -> None:
    searched = []

    def redact(text: str) -> str:
        searched.append(text)
        return text

    body = json.dumps([{"id_sms": id_, "state": "delayed"} for id_ in range(1, 1001)]).encode()
    read = decode(200, load(text_of(body)), dict.fromkeys(range(1, 1001), False), MOSCOW, redact)
    assert len(read.undocumented) == 1000
    assert searched == ["delayed"]


@given(st.lists(TEXTS | st.integers(), max_size=6), st.booleans())
def test_long_strings_are_cut_and_everything_else_stays(values: list[str | int], spread: bool) -> None:
    body = json.dumps([{"key": value} for value in values], ensure_ascii=False, indent=9000 if spread else None)
    padded = body.encode() + b" " * LONG_BODY
    read = load(text_of(padded) if body.count(",") < 90_000 else body)
    assert isinstance(read, list)
    for value, entry in zip(values, read, strict=True):
        if isinstance(value, int):
            assert entry == {"key": str(value)}
        else:
            assert value.startswith(entry["key"])
            assert len(entry["key"].encode()) >= min(len(value.encode()), 8192)


def test_a_body_of_too_many_escapes_is_not_read() -> None:
    assert isinstance(text_of(b'"' + b'\\"' * 2_000_001 + b'"'), InvalidReply)
