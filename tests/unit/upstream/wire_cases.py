# ruff: noqa: E501 - a case a line reads as a table
"""What the platform may answer, as data: label, asked, reply, and what is made of it.

Every line of the tables of ``docs/upstream.md`` has its cases, which ``LINES`` at the end names. ``asked`` maps ids to
whether detail is wanted. ``expected`` is a record or the slug of a problem for each id that the reply speaks of, or one
slug where the whole request fails.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from app.lookup.record import MessageRecord

MOSCOW = ZoneInfo("Europe/Moscow")
DOCUMENTED_MOMENT = datetime(2021, 4, 26, 15, 15, 3, tzinfo=MOSCOW)


@dataclass(frozen=True)
class Case:
    """One reply.

    ``unreadable`` names the fields that are counted as such, ``raw_words`` the states that were written otherwise;
    ``message`` is the platform's text that callers see.
    """

    label: str
    asked: dict[int, bool]
    body: bytes
    expected: dict[int, MessageRecord | str] | str
    status: int = 200
    unreadable: list[str] = field(default_factory=list)
    raw_words: list[str] = field(default_factory=list)
    message: str | None = None


def delivered(id_: int, parts: int | None = 1, price: str | None = "10.6000000") -> MessageRecord:
    """The documented record, for any id."""
    return MessageRecord(id_, "deliver", DOCUMENTED_MOMENT, parts, price, detailed=True)


def plain(id_: int, state: str = "read", changed_at: datetime | None = None) -> MessageRecord:
    """A record without detail."""
    return MessageRecord(id_, state, changed_at)


def entry(values: str, id_: int = 5) -> bytes:
    """A reply of one entry with the documented time and state, and these detail fields."""
    return f'[{{"id_sms":{id_},"time_change_state":"2021-04-26 15:15:03","state":"deliver",{values}}}]'.encode()


def timed(time: str) -> bytes:
    """A reply of one entry with this time."""
    return f'[{{"id_sms":5,"state":"read","time_change_state":{time}}}]'.encode()


DETAIL, PLAIN = {5: True}, {5: False}
TWO = {1: False, 2: False}
DOCUMENTED = (
    b'[{"id_sms": 82216, "time_change_state": "2021-04-26 15:15:03", "state": "deliver", "num_parts": 1, '
    b'"price": 10.6000000}]'
)

RECORDS = [
    Case("the documented reply", {82216: True}, DOCUMENTED, {82216: delivered(82216)}),
    Case("detail that nobody asked for", {82216: False}, DOCUMENTED, {82216: plain(82216, "deliver", DOCUMENTED_MOMENT)}),
    Case("an id as a string", PLAIN, b'[{"id_sms":"5","state":"read"}]', {5: plain(5)}),
    Case("an id with blanks around", PLAIN, b'[{"id_sms":" 5 ","state":"read"}]', {5: plain(5)}),
    Case("parts and price as strings", DETAIL, entry('"num_parts":"1","price":"10.60"'), {5: delivered(5, 1, "10.60")}),
    Case("a comma in the price", DETAIL, entry('"num_parts":1,"price":"10,60"'), {5: delivered(5, 1, "10.60")}),
    Case("an integer price", DETAIL, entry('"num_parts":1,"price":10'), {5: delivered(5, 1, "10")}),
    Case("a price with an exponent", DETAIL, entry('"num_parts":1,"price":1.06E1'), {5: delivered(5, 1, "10.6")}),
    Case("a tiny price", DETAIL, entry('"num_parts":1,"price":1e-7'), {5: delivered(5, 1, "0.0000001")}),
    Case(
        "more digits than a float holds", DETAIL, entry('"num_parts":1,"price":0.12345678901234567890'),
        {5: delivered(5, 1, "0.12345678901234567890")},
    ),
    Case("parts as a whole fraction", DETAIL, entry('"num_parts":2.0,"price":1'), {5: delivered(5, 2, "1")}),
    Case("null parts and price", DETAIL, entry('"num_parts":null,"price":null'), {5: delivered(5, None, None)}),
    Case("empty parts and price", DETAIL, entry('"num_parts":"","price":""'), {5: delivered(5, None, None)}),
    Case("no parts and price", DETAIL, entry('"x":1'), {5: delivered(5, None, None)}),
    Case(
        "a price that is no number", DETAIL, entry('"num_parts":1,"price":NaN'), {5: delivered(5, 1, None)},
        unreadable=["price"],
    ),
    Case(
        "an infinite price", DETAIL, entry('"num_parts":1,"price":-Infinity'), {5: delivered(5, 1, None)},
        unreadable=["price"],
    ),
    Case(
        "words for numbers", DETAIL, entry('"num_parts":"two","price":"free"'), {5: delivered(5, None, None)},
        unreadable=["num_parts", "price"],
    ),
    Case(
        "lists for numbers", DETAIL, entry('"num_parts":[1],"price":{}'), {5: delivered(5, None, None)},
        unreadable=["num_parts", "price"],
    ),
    Case("true for parts", DETAIL, entry('"num_parts":true'), {5: delivered(5, None, None)}, unreadable=["num_parts"]),
    Case("half a part", DETAIL, entry('"num_parts":1.5'), {5: delivered(5, None, None)}, unreadable=["num_parts"]),
    Case(
        "a price of ten thousand digits", DETAIL, entry(f'"num_parts":1,"price":{"9" * 10_000}'),
        {5: delivered(5, 1, None)}, unreadable=["price"],
    ),
    Case("an empty time", PLAIN, timed('""'), {5: plain(5)}),
    Case("a null time", PLAIN, timed("null"), {5: plain(5)}),
    Case("a zero time", PLAIN, timed('"0000-00-00 00:00:00"'), {5: plain(5)}),
    Case("no time", PLAIN, b'[{"id_sms":5,"state":"send"}]', {5: plain(5, "send")}),
    Case("a time in words", PLAIN, timed('"yesterday"'), {5: plain(5)}, unreadable=["time_change_state"]),
    Case("a day that is not there", PLAIN, timed('"2021-02-30 00:00:00"'), {5: plain(5)}, unreadable=["time_change_state"]),
    Case("a time as a number", PLAIN, timed("1619439303"), {5: plain(5)}, unreadable=["time_change_state"]),
    Case("a time as a list", PLAIN, timed("[]"), {5: plain(5)}, unreadable=["time_change_state"]),
    Case("a byte-order mark", PLAIN, b'\xef\xbb\xbf[{"id_sms":5,"state":"read"}]', {5: plain(5)}),
    Case("white space around", PLAIN, b' \r\n[{"id_sms":5,"state":"read"}]\n', {5: plain(5)}),
    Case("another order", TWO, b'[{"id_sms":2,"state":"read"},{"id_sms":1,"state":"send"}]', {1: plain(1, "send"), 2: plain(2)}),
    Case("an id twice, the same", PLAIN, b'[{"id_sms":5,"state":"read"},{"id_sms":5,"state":"read"}]', {5: plain(5)}),
    Case("an id twice, newer first", PLAIN, b'[{"id_sms":5,"state":"read"},{"id_sms":5,"state":"send"}]', {5: plain(5)}),
    Case("an id twice, newer last", PLAIN, b'[{"id_sms":5,"state":"send"},{"id_sms":5,"state":"read"}]', {5: plain(5)}),
    Case("an id twice, an error first", PLAIN, b'[{"id_sms":5,"error":"x"},{"id_sms":5,"state":"read"}]', {5: plain(5)}),
    Case("an id twice, an error last", PLAIN, b'[{"id_sms":5,"state":"read"},{"id_sms":5,"error":"x"}]', {5: plain(5)}),
    Case("an id twice, once empty", PLAIN, b'[{"id_sms":5},{"id_sms":5,"state":"read"}]', {5: plain(5)}),
    Case("an id that nobody asked for", PLAIN, b'[{"id_sms":6,"state":"read"},{"id_sms":5,"state":"send"}]', {5: plain(5, "send")}),
    Case("keys that nobody knows", PLAIN, b'[{"id_sms":5,"state":"read","operator":{"name":"x"}}]', {5: plain(5)}),
    Case("a new state", PLAIN, b'[{"id_sms":5,"state":"delayed"}]', {5: plain(5, "delayed")}),
    Case("a new state with blanks around", PLAIN, b'[{"id_sms":5,"state":" Delayed-2 "}]', {5: plain(5, "Delayed-2")}),
    Case("an id beyond 32 bits, as a string", {2731379410: False}, b'[{"id_sms":"2731379410","state":"read"}]', {2731379410: plain(2731379410)}),
    Case("time in place of time_change_state", PLAIN, b'[{"id_sms":5,"state":"read","time":"2021-04-26 15:15:03"}]', {5: plain(5, "read", DOCUMENTED_MOMENT)}),
    Case("an empty time_change_state beside a time", PLAIN, b'[{"id_sms":5,"state":"read","time_change_state":"","time":"2021-04-26 15:15:03"}]', {5: plain(5, "read", DOCUMENTED_MOMENT)}),
    Case("a time in words, under its other name", PLAIN, b'[{"id_sms":5,"state":"read","time":"soon"}]', {5: plain(5)}, unreadable=["time"]),
    Case("an error that is an object", PLAIN, b'[{"id_sms":5,"error":{"text":"x"}}]', {5: "upstream-rejected"}),
    Case("an error that is true", PLAIN, b'[{"id_sms":5,"error":true}]', {5: "upstream-rejected"}),
    Case("an error that is false", PLAIN, b'[{"id_sms":5,"error":false}]', {5: "message-not-found"}),
    Case("an error that is null beside a state", PLAIN, b'[{"id_sms":5,"state":"read","error":null}]', {5: plain(5)}),
    Case("an error that is 0 beside a state", PLAIN, b'[{"id_sms":5,"state":"read","error":0}]', {5: plain(5)}),
    Case("an error that is empty beside a state", PLAIN, b'[{"id_sms":5,"state":"read","error":""}]', {5: plain(5)}),
]  # fmt: skip

WORDS = {
    "send": "send", "partly_deliver": "partly_deliver", "deliver": "deliver", "read": "read", "not_deliver": "not_deliver",
    "expired": "expired", "DELIVRD": "deliver", "UNDELIV": "not_deliver", "REJECTD": "not_deliver", "DELETED": "not_deliver",
    "reject": "not_deliver", "EXPIRED": "expired", "ENROUTE": "send", "ACCEPTD": "send", "new": "send",
}  # fmt: skip
"""The platform's words, and the documented ones that they stand for."""

SPELLINGS = [
    Case(
        f"the word {word}, {how}", PLAIN, json.dumps([{"id_sms": 5, "state": spelt}]).encode(), {5: plain(5, documented)},
        raw_words=[] if spelt == documented else [word.upper()],
    )
    for word, documented in WORDS.items()
    for how, spelt in {
        "as it is": word, "in small letters": word.lower(), "in capitals": word.upper(), "with blanks": f" {word}\t",
    }.items()
]  # fmt: skip

SHAPES = [
    Case("an array with a gap, as an object", {1: False, 2: False, 3: False}, b'{"0":{"id_sms":1,"state":"read"},"2":{"id_sms":3,"state":"send"}}', {1: plain(1), 3: plain(3, "send")}),
    Case("an array of one, as its entry", PLAIN, b'{"id_sms":5,"state":"read"}', {5: plain(5)}),
    Case("an array of one, as its entry, for another id", PLAIN, b'{"id_sms":6,"state":"read"}', {}),
    Case("no entries, as an object", TWO, b"{}", {}),
    Case("an entry with an error, bare", PLAIN, b'{"id_sms":5,"error":"Database is locked"}', {5: "upstream-rejected"}),
    Case("an error object that names an id nobody asked for", PLAIN, b'{"id_sms":0,"error":"Database is locked"}', "upstream-account-locked"),
    Case("an object of other things", PLAIN, b'{"status":"ok"}', "upstream-invalid-reply"),
]  # fmt: skip

UNKNOWN = "Сообщение с таким ID не принималось"


def said(text: str, id_: int = 5) -> bytes:
    """The entry of the sibling interfaces for an id that they do not know, with this text in the place of the state."""
    return json.dumps([{"id_sms": id_, "time_change_state": "", "state": text, "num_parts": 0, "price": 0}]).encode()


SENTENCES = [
    Case("the sentence for an unknown id in place of the state", DETAIL, said(UNKNOWN), {5: "message-not-found"}, message=UNKNOWN),
    Case("the sentence for an unknown id, shouted", PLAIN, said(f" {UNKNOWN.upper()}! "), {5: "message-not-found"}),
    Case("the sentence for an unknown id in the old code page", PLAIN, f'[{{"id_sms":5,"state":"{UNKNOWN}"}}]'.encode("cp1251"), {5: "message-not-found"}),
    Case("the sentence for an unknown id as an error of the entry", PLAIN, json.dumps([{"id_sms": 5, "error": UNKNOWN}]).encode(), {5: "message-not-found"}, message=UNKNOWN),
    Case("the sentence for an unknown id in an object", PLAIN, json.dumps({"error": UNKNOWN}).encode(), "message-not-found", message=UNKNOWN),
    Case("the sentence for an unknown id in an object with a 400", TWO, json.dumps({"error": UNKNOWN}).encode(), "message-not-found", 400),
    Case("the sentence for an unknown id in an object's state", PLAIN, json.dumps({"state": UNKNOWN}).encode(), "message-not-found"),
    Case("the sentence for an unknown id beside another error", PLAIN, json.dumps([{"id_sms": 5, "state": UNKNOWN, "error": "Ошибка"}]).encode(), {5: "message-not-found"}),
    Case("the sentence for an unknown id without an id, beside answers", {1: False, 2: False}, json.dumps([{"id_sms": 2, "state": "read"}, {"error": UNKNOWN}]).encode(), {2: plain(2)}),
    Case("the sentence for an unknown id without an id, alone", TWO, json.dumps([{"error": UNKNOWN}]).encode(), "message-not-found"),
    Case("one sentence among states", TWO, json.dumps([{"id_sms": 1, "state": UNKNOWN}, {"id_sms": 2, "state": "read"}]).encode(), {1: "message-not-found", 2: plain(2)}),
    Case("a sentence that goes on otherwise", PLAIN, said(f"{UNKNOWN} оператором"), {5: "upstream-rejected"}),
    Case("another sentence in place of the state", DETAIL, said("Абонент заблокирован"), {5: "upstream-rejected"}, message="Абонент заблокирован"),
    Case("an English sentence in place of the state", PLAIN, said("Database is locked"), {5: "upstream-rejected"}),
    Case("a sentence in the old code page", PLAIN, '[{"id_sms":5,"state":"отложено"}]'.encode("cp1251"), {5: "upstream-rejected"}),
    Case("a Russian word in place of the state", PLAIN, said("отложено"), {5: "upstream-rejected"}),
    Case("a sentence that ends in half a character", PLAIN, b'[{"id_sms":5,"state":"no no \\ud83d"}]', {5: "upstream-rejected"}, message="no no"),
    Case("a blank state", PLAIN, said(" \t"), {5: "message-not-found"}),
    Case("a sentence of 8 KiB", PLAIN, said("no " * 2700), {5: "upstream-rejected"}),
]  # fmt: skip

UNKNOWN_IDS = [
    Case("nothing at all", PLAIN, b"[]", {}),
    Case("one left out", TWO, b'[{"id_sms":1,"state":"read"}]', {1: plain(1)}),
    Case("only the first is answered", {1: False, 2: False, 3: False}, b'[{"id_sms":1,"state":"read"}]', {1: plain(1)}),
    Case("an entry without state", PLAIN, b'[{"id_sms":5}]', {5: "message-not-found"}),
    Case("an entry with a null state", PLAIN, b'[{"id_sms":5,"state":null}]', {5: "message-not-found"}),
    Case("an entry with an empty state", PLAIN, b'[{"id_sms":5,"state":""}]', {5: "message-not-found"}),
    Case(
        "an entry with its own error", TWO, b'[{"id_sms":1,"error":"Unknown id"},{"id_sms":2,"state":"read"}]',
        {1: "upstream-rejected", 2: plain(2)},
    ),
    Case("a 400 for the whole array", TWO, b'{"error":"Unknown id"}', "upstream-rejected", 400),
]  # fmt: skip

MALFORMED_ENTRIES = [
    Case(
        "a state as a number", TWO, b'[{"id_sms":1,"state":3},{"id_sms":2,"state":"read"}]',
        {1: "upstream-invalid-reply", 2: plain(2)}, unreadable=["state"],
    ),
    Case("a state as a list", PLAIN, b'[{"id_sms":5,"state":["read"]}]', {5: "upstream-invalid-reply"}, unreadable=["state"]),
    Case("a state as true", PLAIN, b'[{"id_sms":5,"state":true}]', {5: "upstream-invalid-reply"}, unreadable=["state"]),
    Case("a state as NaN", PLAIN, b'[{"id_sms":5,"state":NaN}]', {5: "upstream-invalid-reply"}, unreadable=["state"]),
    Case(
        "a state of half a character", PLAIN, b'[{"id_sms":5,"state":"\\ud800"}]', {5: "upstream-invalid-reply"},
        unreadable=["state"],
    ),
    Case(
        "a state without end", PLAIN, b'[{"id_sms":5,"state":"' + b"x" * 101 + b'"}]', {5: "upstream-invalid-reply"},
        unreadable=["state"],
    ),
    Case(
        "an entry without id: whose it is cannot be said", TWO, b'[{"state":"send"},{"id_sms":2,"state":"read"}]',
        {1: "upstream-invalid-reply", 2: plain(2)}, unreadable=["id_sms"],
    ),
    Case("an id in words", PLAIN, b'[{"id_sms":"five","state":"read"}]', {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case("an id as a fraction", PLAIN, b'[{"id_sms":5.5,"state":"read"}]', {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case("an id as a list", PLAIN, b'[{"id_sms":[5],"state":"read"}]', {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case("an id as true", {1: False}, b'[{"id_sms":true,"state":"read"}]', {1: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case(
        "an id of ten thousand digits", PLAIN, b'[{"id_sms":' + b"5" * 10_000 + b',"state":"read"}]',
        {5: "upstream-invalid-reply"}, unreadable=["id_sms"],
    ),
    Case("an entry that is no object", PLAIN, b"[5]", {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case("an entry that is null", PLAIN, b"[null]", {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
    Case("an array in the array", PLAIN, b'[[{"id_sms":5,"state":"read"}]]', {5: "upstream-invalid-reply"}, unreadable=["id_sms"]),
]  # fmt: skip

SAME = "Попытка отправки более одного одинакового запроса в течение минуты"

WORDINGS: dict[str, str] = {
    UNKNOWN: "message-not-found",
    "Your account is locked": "upstream-account-locked",
    "Ваш аккаунт заблокирован": "upstream-account-locked",
    "Аккаунт заблокирован.": "upstream-account-locked",
    "Incorrect login or password": "upstream-credentials-rejected",
    "Неправильный логин или пароль": "upstream-credentials-rejected",
    "Неверный логин или пароль": "upstream-credentials-rejected",
    "Неправильный логин или": "upstream-credentials-rejected",
    SAME: "upstream-throttled",
    "Incorrect JSON document format": "upstream-rejected-request",
    "Неправильный формат JSON документа": "upstream-rejected-request",
    "POST data is missing": "upstream-rejected-request",
    "POST данные отсутствуют": "upstream-rejected-request",
}
"""Every wording that is known, and what it means wherever it stands and under every status."""

EVERY_WORDING = [
    case
    for text, slug in WORDINGS.items()
    for status in (200, 400, 401, 403, 500)
    for case in (
        Case(f"“{text}” as an object, {status}", TWO, json.dumps({"error": text}).encode(), slug, status, message=text),
        Case(f"“{text}” as an entry, {status}", PLAIN, json.dumps([{"id_sms": 5, "error": text}]).encode(), {5: slug}, status, message=text),
        Case(f"“{text}” as a state, {status}", PLAIN, said(text), {5: slug}, status, message=text),
    )
]  # fmt: skip

ERRORS = [
    Case("the documented error", PLAIN, b'{"error": "Error message"}', "upstream-rejected", 400),
    Case("an error with status 200", PLAIN, b'{"error": "Incorrect login or password"}', "upstream-credentials-rejected"),
    Case("an error in the array", PLAIN, b'[{"error": "Your account is locked"}]', "upstream-account-locked"),
    Case("an error in the array for all", TWO, b'[{"error": "POST data is missing"}]', "upstream-rejected-request"),
    Case("an error in the array of a 400", PLAIN, b'[{"error": "Your account is locked"}]', "upstream-account-locked", 400),
    Case(
        "an error beside an answer", TWO, b'[{"id_sms":2,"state":"read"},{"error":"POST data is missing"}]',
        {1: "upstream-rejected-request", 2: plain(2)},
    ),
    Case(
        "an error for one of two", TWO, b'[{"id_sms":1,"error":"Incorrect login or password"},{"id_sms":2,"state":"read"}]',
        {1: "upstream-credentials-rejected", 2: plain(2)},
    ),
    Case(
        "an error for one of two, with a 400", TWO, b'[{"id_sms":1,"error":"Database is locked"},{"id_sms":2,"state":"read"}]',
        {1: "upstream-rejected", 2: plain(2)}, 400,
    ),
    Case("an unknown text that speaks of the login", PLAIN, b'{"error":"No such LOGIN: x"}', "upstream-credentials-rejected"),
    Case("an unknown text that speaks of the password", TWO, '{"error":"Пароль устарел"}'.encode(), "upstream-credentials-rejected", 400),
    Case("an unknown text that speaks of a lock", PLAIN, b'[{"error":"Customer blocked"}]', "upstream-account-locked"),
    Case("a text of locks and logins", PLAIN, b'{"error":"Login is locked"}', "upstream-account-locked", 400),
    Case("a text of formats and passwords", PLAIN, b'{"error":"Incorrect JSON document format: password"}', "upstream-credentials-rejected", 400),
    Case("a text of locks and unknown messages", PLAIN, json.dumps({"error": f"{UNKNOWN}: login blocked"}).encode(), "message-not-found", 400),
    Case("a text of the same request and the format", PLAIN, json.dumps({"error": f"{SAME}. Неправильный формат документа"}).encode(), "upstream-throttled", 400),
    Case("credentials for each entry", TWO, json.dumps([{"id_sms": 1, "state": "Неверный логин или пароль"}, {"id_sms": 2, "error": "Неверный логин или пароль"}]).encode(), {1: "upstream-credentials-rejected", 2: "upstream-credentials-rejected"}),
    Case("an unknown text with a 500", PLAIN, b'{"error":"Internal error"}', "upstream-error", 500),
    Case("a lock in an unknown text with a 500", PLAIN, b'{"error":"Database is locked"}', "upstream-error", 500),
    Case("a login in an unknown text with a 403", PLAIN, b'{"error":"login first"}', "upstream-error", 403),
    Case("an unknown text with a 401", PLAIN, b'{"error":"Who are you?"}', "upstream-credentials-rejected", 401, message="Who are you?"),
    Case("no text with a 401", PLAIN, b"", "upstream-credentials-rejected", 401),
    Case("a page with a 403", PLAIN, b"<h1>Forbidden</h1>", "upstream-error", 403),
    Case("answers with a 500", PLAIN, b'[{"id_sms":5,"state":"read"}]', "upstream-error", 500),
    Case("a known text for one of two with a 500", TWO, json.dumps([{"id_sms": 1, "error": UNKNOWN}, {"id_sms": 2, "state": "read"}]).encode(), "upstream-error", 500),
    Case("the same request, with a 429", PLAIN, json.dumps({"error": SAME}).encode(), "upstream-throttled", 429),
    Case("no text with a 429", PLAIN, b"", "upstream-throttled", 429),
    Case("Russian", PLAIN, '{"error":"Неправильный логин или пароль"}'.encode(), "upstream-credentials-rejected", 400),
    Case(
        "Russian in the old code page", PLAIN, '{"error":"Неправильный логин или пароль"}'.encode("cp1251"),
        "upstream-credentials-rejected", 400,
    ),
    Case(
        "Russian in escapes", PLAIN, b'{"error":"\\u041d\\u0435\\u043f\\u0440\\u0430\\u0432\\u0438\\u043b\\u044c\\u043d'
        b'\\u044b\\u0439 \\u043b\\u043e\\u0433\\u0438\\u043d \\u0438\\u043b\\u0438 \\u043f\\u0430\\u0440\\u043e\\u043b\\u044c"}',
        "upstream-credentials-rejected", 400,
    ),
    Case("another case, a full stop", PLAIN, b'{"error":" INCORRECT JSON document  format. "}', "upstream-rejected-request", 400),
    Case("a 400 without JSON", PLAIN, b"<h1>Bad Request</h1>", "upstream-rejected", 400),
    Case("a 400 without body", PLAIN, b"", "upstream-rejected", 400),
    Case("a 400 without error", PLAIN, b"{}", "upstream-rejected", 400),
    Case("a 400 with a nested error", PLAIN, b'{"error":{"text":"Your account is locked"}}', "upstream-rejected", 400),
    Case("a 400 with an array of answers", PLAIN, b'[{"id_sms":5,"state":"read"}]', "upstream-rejected", 400),
    Case("a 400 of a million brackets", PLAIN, b"[" * 1_000_000, "upstream-rejected", 400),
]  # fmt: skip

NO_REPLIES = [
    Case("no body", PLAIN, b"", "upstream-rejected"),
    Case("a body of white space", TWO, b" \r\n\t", "upstream-rejected"),
    Case("a byte-order mark alone", TWO, b"\xef\xbb\xbf", "upstream-rejected"),
    Case("null", TWO, b" null\n", "upstream-rejected"),
    Case("HTML", PLAIN, b"<html><body>maintenance</body></html>", "upstream-invalid-reply"),
    Case(
        "a PHP warning before the JSON",
        PLAIN,
        b'Warning: x in y\n[{"id_sms":5,"state":"read"}]',
        "upstream-invalid-reply",
    ),
    Case("truncated", PLAIN, b'[{"id_sms":5,"state":"re', "upstream-invalid-reply"),
    Case("two documents", PLAIN, b"[][]", "upstream-invalid-reply"),
    Case("an object with an empty error", PLAIN, b'{"error":""}', "upstream-invalid-reply"),
    Case("a string", PLAIN, b'"read"', "upstream-invalid-reply"),
    Case("a number", PLAIN, b"5", "upstream-invalid-reply"),
    Case("deep nesting", PLAIN, b"[" * 50_000 + b"]" * 50_000, "upstream-invalid-reply"),
    Case("more parts than anybody needs", PLAIN, b"[" + b"[]," * 100_000 + b"[]]", "upstream-invalid-reply"),
]

CASES = [
    *RECORDS,
    *SPELLINGS,
    *SHAPES,
    *SENTENCES,
    *UNKNOWN_IDS,
    *MALFORMED_ENTRIES,
    *EVERY_WORDING,
    *ERRORS,
    *NO_REPLIES,
]
