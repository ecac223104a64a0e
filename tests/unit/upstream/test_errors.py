"""The platform's error texts: each is recognised, and none shows a credential."""

import base64
import html
import json
import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.failures import (
    AccountLocked,
    CredentialsRejected,
    EntryRefused,
    LookupFailure,
    MessageNotFound,
    RepeatedRequest,
    RequestRejected,
    UnknownRefusal,
)
from app.upstream.errors import (
    FRAGMENTS,
    WORDINGS,
    Wording,
    clean_message,
    entry_refusal,
    error_text,
    known_refusal,
    lockout_wordings,
    refusal,
    status_failure,
)


@pytest.mark.parametrize("row", WORDINGS, ids=lambda row: row.text)
def test_every_wording_is_recognised_whatever_its_spelling(row: Wording) -> None:
    for text in (row.text.replace("…", "JSON"), re.sub(" ?… ?", " ", row.text)):
        for cased in (text, text.lower(), text.upper(), text.replace(" ", "  "), text.replace(" ", ", ")):
            for spelling in ("{}", "{}.", "{}!", " {}\r\n", "{} .", "«{}»"):
                whole = refusal([spelling.format(cased)], lambda shown: shown)
                of_one = entry_refusal([spelling.format(cased)], lambda shown: shown)
                assert type(whole) is row.meaning
                assert isinstance(of_one, row.meaning)
                assert whole.wording == of_one.wording
                assert whole.retry_after == of_one.retry_after == row.meaning.lasts
                assert whole.upstream_message


@pytest.mark.parametrize(
    "text", ["Error message", "Сервис недоступен", "." * 5, "Nicht gefunden", "Сообщение не принималось"]
)
def test_any_other_text_is_an_unknown_refusal(text: str) -> None:
    assert type(refusal([text], str)) is UnknownRefusal
    assert type(entry_refusal([text], str)) is EntryRefused
    assert known_refusal([text], str) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [(f"x {fragment.upper()}y", kind) for kind, fragments in FRAGMENTS.items() for fragment in fragments]
    + [
        ("Incorrect login or password for user 5", CredentialsRejected),
        ("Ваш аккаунт заблокирован до 5 мая", AccountLocked),
    ],
)
def test_a_fragment_counts_in_a_text_about_the_whole_request_alone(text: str, kind: type[LookupFailure]) -> None:
    assert type(refusal([text], str)) is kind
    assert type(entry_refusal([text], str)) is EntryRefused
    assert known_refusal([text], str) is None


@pytest.mark.parametrize("text", ["Абонент заблокирован", "Database is locked", "Login of the operator failed"])
def test_a_text_about_one_message_that_speaks_of_locks_and_logins_says_nothing_about_the_account(text: str) -> None:
    assert type(entry_refusal([text], str)) is EntryRefused


def test_the_order_of_the_meanings_is_the_documented_one() -> None:
    assert list(dict.fromkeys(row.meaning for row in WORDINGS)) == [
        MessageNotFound, AccountLocked, CredentialsRejected, RepeatedRequest, RequestRejected,
    ]  # fmt: skip


def test_every_lock_out_has_a_name_for_its_metric() -> None:
    names = lockout_wordings()
    assert len(names) == len(set(names))
    for text in ("Your account is locked", "Неправильный логин или", "no such login", "Абонент заблокирован"):
        assert refusal([text], str).wording in names
    assert status_failure(401, [], str).wording in names


def test_a_refusal_without_text_is_unknown_and_has_no_message() -> None:
    failure = refusal([], lambda shown: shown)
    assert type(failure) is UnknownRefusal
    assert failure.upstream_message is None


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"error": "a"}, "a"),
        ({"error": " a "}, "a"),
        ({"error": ""}, None),
        ({"error": None}, None),
        ({"error": ["a"]}, None),
        ({}, None),
        ([], None),
        ("a", None),
        (None, None),
    ],
)
def test_the_error_text_stands_under_error_of_an_object(document: object, text: str | None) -> None:
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


TOKEN = "tok_9f8e7d6c5b4a3210"


@pytest.mark.parametrize("start", range(len(TOKEN) - 5))
@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda part: "".join(f"%{ord(each):02x}" for each in part),
        lambda part: base64.b64encode(part.encode()).decode(),
        lambda part: base64.urlsafe_b64encode(f"l:{part}x".encode()).decode(),
        lambda part: base64.b64encode(f"u{part}".encode()).decode().rstrip("="),
    ],
    ids=["plain", "percent", "base64", "base64 among others", "base64 behind another"],
)
def test_no_six_characters_of_a_long_credential_are_shown_however_encoded(
    start: int, encode: Callable[[str], str]
) -> None:
    part = encode(TOKEN[start : start + 6])
    assert clean_message(f"unknown token {part}… of the account", [TOKEN]) is None


CYRILLIC = "пароль-секрет"


@pytest.mark.parametrize("secret", [TOKEN, CYRILLIC, 'Pa"ss&w\\ord/7+8%9'])
@pytest.mark.parametrize(
    "encode",
    [
        lambda part: json.dumps(part)[1:-1],
        lambda part: json.dumps(part)[1:-1].replace("/", "\\/").upper().replace("\\U", "\\u"),
        lambda part: json.dumps(json.dumps(part))[2:-2],
        html.escape,
        lambda part: "".join(f"&#{ord(each)};" for each in part),
        lambda part: html.escape(json.dumps(part)[1:-1]),
        lambda part: quote(quote(part, safe=""), safe=""),
        lambda part: quote(part, safe="").lower(),
        lambda part: quote(part, safe="+"),
        lambda part: quote(part, safe="").replace("%", "&#37;"),
        lambda part: part.encode().hex(),
        lambda part: part.encode().hex().upper(),
    ],
    ids=[
        *("JSON", "JSON of PHP, upper case", "JSON twice", "HTML", "HTML in numbers", "JSON in HTML", "percent twice"),
        *("percent, lower case", "percent less the plus", "percent in HTML", "hexadecimal", "HEXADECIMAL"),
    ],
)
def test_no_six_characters_are_shown_in_an_escape_of_json_html_or_both(
    secret: str, encode: Callable[[str], str]
) -> None:
    for start in range(len(secret) - 5):
        part = encode(secret[start : start + 6])
        assert clean_message(f"request was {part}… of the account", [secret]) is None


def test_the_base64_of_a_whole_credential_that_was_cut_is_not_shown() -> None:
    form = base64.b64encode(TOKEN.encode()).decode()
    for start in range(len(form) - 8):
        assert clean_message(f"Basic {form[start : start + 6]}", [TOKEN]) is None


@pytest.mark.parametrize("login", ["e", "or", "log"])
def test_a_very_short_login_hides_no_whole_text(login: str) -> None:
    text = "Incorrect login or password"
    assert clean_message(text, [login, TOKEN]) == text
    assert clean_message(login, [login]) is None


def test_a_number_is_no_part_of_a_credential_in_hexadecimal() -> None:
    text = "The telephone 31323334353 is switched off"
    assert clean_message(text, ["a-password-123456"]) == text
    assert clean_message(text.replace("353", "3536"), ["a-password-123456"]) is None


def test_an_empty_secret_does_not_withhold_everything() -> None:
    assert clean_message("hello", [""]) == "hello"


def test_a_text_without_end_is_cut_before_it_is_cleaned() -> None:
    text = "\u200bя " * 3_000_000
    begun = time.process_time()
    assert clean_message(text, [SECRET]) == ("я " * 100).strip()
    assert type(refusal([text + "login"], str)) is UnknownRefusal
    assert time.process_time() - begun < 0.5


def test_no_part_of_a_credential_is_shown_where_a_long_text_was_cut_inside_it() -> None:
    # What is shown comes from the first characters; all of them but the credential's are invisible here.
    assert clean_message("\u200b" * (400 + 6 * len(SECRET) - 5) + SECRET + "x" * 2000, [SECRET]) is None
