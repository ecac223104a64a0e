"""The platform's error texts: each is recognised, and none shows a credential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.failures import AccountLocked, CredentialsRejected, Refusal, RequestRejected, UnknownRefusal
from app.upstream.errors import clean_message, error_text, refusal

DOCUMENTED: list[tuple[str, type[Refusal], float | None]] = [
    ("Incorrect JSON document format", RequestRejected, None),
    ("Your account is locked", AccountLocked, 300),
    ("Incorrect login or password", CredentialsRejected, 60),
    ("POST data is missing", RequestRejected, None),
    ("Неправильный формат JSON документа", RequestRejected, None),
    ("Неправильный формат XML документа", RequestRejected, None),
    ("Неправильный формат документа", RequestRejected, None),
    ("Неправильный логин или пароль", CredentialsRejected, 60),
    ("POST данные отсутствуют", RequestRejected, None),
    ("Ваш аккаунт заблокирован", AccountLocked, 300),
]


@pytest.mark.parametrize("spelling", ["{}", "{}.", "{}!", " {}\r\n", "{} ."])
@pytest.mark.parametrize(("text", "kind", "retry_after"), DOCUMENTED)
def test_every_documented_text_is_mapped_whatever_its_spelling(
    text: str, kind: type[Refusal], retry_after: float | None, spelling: str
) -> None:
    for cased in (text, text.lower(), text.upper(), text.replace(" ", "  ")):
        failure = refusal(spelling.format(cased), lambda shown: shown)
        assert type(failure) is kind
        assert failure.retry_after == retry_after
        assert failure.upstream_message


@pytest.mark.parametrize("text", ["Error message", "", "locked", "Incorrect login or password for user 5", "." * 5])
def test_any_other_text_is_an_unknown_refusal(text: str) -> None:
    assert type(refusal(text, lambda shown: shown)) is UnknownRefusal


def test_a_refusal_without_text_is_unknown_and_has_no_message() -> None:
    failure = refusal(None, lambda shown: shown)
    assert type(failure) is UnknownRefusal
    assert failure.upstream_message is None


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"error": "a"}, "a"),
        ({"error": " a "}, "a"),
        ([{"error": "a"}, {"error": "b"}], "a"),
        ({"error": ""}, None),
        ({"error": None}, None),
        ({"error": ["a"]}, None),
        ({}, None),
        ([], None),
        (["a"], None),
        ("a", None),
        (None, None),
    ],
)
def test_the_error_text_stands_under_error_of_an_object_or_of_the_first_entry(
    document: object, text: str | None
) -> None:
    assert error_text(document) == text


def test_a_message_loses_control_characters_and_surplus_blanks() -> None:
    assert clean_message(" a\x00b\u200b\r\n\t c\u2028d\x1b[31m ", []) == "ab c d[31m"


def test_a_message_is_cut_after_two_hundred_characters() -> None:
    assert clean_message("я" * 300, []) == "я" * 200


@pytest.mark.parametrize("text", ["", " ", "\x00\n"])
def test_nothing_readable_is_no_message(text: str) -> None:
    assert clean_message(text, []) is None


SECRET = 'Pa"ss&w\\ord 7'


@pytest.mark.parametrize(
    "text",
    [
        f"wrong password {SECRET} given",
        f"wrong password {SECRET.upper()}",
        "wrong password Pa&quot;ss&amp;w\\ord 7",
        "wrong password Pa%22ss%26w%5Cord+7",
        "wrong password Pa%22ss%26w%5Cord%207",
        'wrong password Pa\x00"ss&w\u200b\\ord 7',
        "x" * 190 + SECRET,
        "x" * 300 + SECRET,
    ],
)
def test_a_message_that_holds_a_credential_is_withheld_whatever_its_spelling(text: str) -> None:
    assert clean_message(text, ["other", SECRET]) is None


def test_a_credential_with_an_escaped_quote_is_withheld() -> None:
    assert clean_message('got "pa\\"ss"', ['pa"ss']) is None


@given(st.text(max_size=20), st.text(alphabet="abcXYZ019", min_size=4, max_size=12), st.text(max_size=20))
def test_no_text_around_a_credential_lets_it_through(before: str, secret: str, after: str) -> None:
    assert clean_message(before + secret + after, [secret]) is None


def test_an_empty_secret_does_not_withhold_everything() -> None:
    assert clean_message("hello", [""]) == "hello"
