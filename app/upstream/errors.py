"""The platform's error texts: recognising them, and cleaning them for the caller.

Both tables below are all that is known of them. What is in neither is an unknown text.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from app.lookup.failures import (
    AccountLocked,
    CredentialsRejected,
    EntryRefused,
    EntryRejected,
    LookupFailure,
    MessageNotFound,
    RepeatedRequest,
    RequestRejected,
    ServerError,
    Throttled,
    UnexpectedStatus,
    UnknownRefusal,
)
from app.upstream.body import JsonNumber
from app.upstream.leaks import leaks_of

MAX_MESSAGE_LENGTH = 200
MAX_READ = 1024
"""Characters of an error text about the whole request that are looked at: a text of 8 MiB would take seconds."""

_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")

Redact = Callable[[str], str | None]


class Wording(NamedTuple):
    """A text as its source has it. ``…`` stands for any one word, or none."""

    text: str
    meaning: type[LookupFailure]
    source: str


DOCUMENTED = "the documentation's page about state.php"
RUSSIAN = "the Russian pages of the same documentation"
SEEN = "replies that published clients of the platform record"
SIBLING = "replies of the vendor's XML or HTTP GET interface"

# Where several fit, the first one counts.
WORDINGS = [
    Wording("Сообщение с таким ID не принималось", MessageNotFound, SIBLING),
    Wording("Your account is locked", AccountLocked, DOCUMENTED),
    Wording("Ваш аккаунт заблокирован", AccountLocked, SEEN),
    Wording("Аккаунт заблокирован", AccountLocked, SEEN),
    Wording("Incorrect login or password", CredentialsRejected, DOCUMENTED),
    Wording("Неправильный логин или пароль", CredentialsRejected, RUSSIAN),
    Wording("Неверный логин или пароль", CredentialsRejected, SEEN),
    Wording("Неправильный логин или", CredentialsRejected, SEEN),  # cut off, literally
    Wording("Попытка отправки более одного одинакового запроса в течение минуты", RepeatedRequest, SIBLING),
    Wording("Incorrect JSON document format", RequestRejected, DOCUMENTED),
    Wording("Неправильный формат … документа", RequestRejected, RUSSIAN),
    Wording("Неправильный формат документа …", RequestRejected, RUSSIAN),
    Wording("POST data is missing", RequestRejected, DOCUMENTED),
    Wording("POST данные отсутствуют", RequestRejected, RUSSIAN),
]

# What clients of the platform look for, since exact comparison broke. Only in a text about the whole request: of one
# message, "Абонент заблокирован" says nothing about the account.
FRAGMENTS: dict[type[LookupFailure], tuple[str, ...]] = {
    AccountLocked: ("locked", "blocked", "заблокир"),
    CredentialsRejected: ("login", "password", "логин", "парол"),
}

STATUS_401 = "status 401"

# What a text about one message becomes, so that the cache keeps it.
_OF_ONE_MESSAGE: dict[type[LookupFailure], type[LookupFailure]] = {
    RequestRejected: EntryRejected,
    UnknownRefusal: EntryRefused,
}


def lockout_wordings() -> list[str]:
    """Everything by which a lock-out can be recognised, for its metric."""
    known = [row.text for row in WORDINGS if row.meaning in FRAGMENTS]
    return [*known, *(_shown(fragment) for fragments in FRAGMENTS.values() for fragment in fragments), STATUS_401]


def _shown(fragment: str) -> str:
    return f"…{fragment}…"


def _words(text: str) -> str:
    """A text less case, punctuation and spacing."""
    return re.sub(r"[\W_]+", " ", text.casefold()).strip()


def _pattern(wording: str) -> str:
    return r"\b" + re.escape(_words(wording.replace("…", "xanyx"))).replace("xanyx\\ ", r"(?:\w+ )?").replace(
        "\\ xanyx", r"(?: \w+)?"
    )


_KNOWN = [(re.compile(_pattern(row.text) + r"\b"), row) for row in WORDINGS]


class _Recognised(NamedTuple):
    rank: int
    meaning: type[LookupFailure]
    wording: str | None


_MEANINGS = list(dict.fromkeys(row.meaning for row in WORDINGS))
_UNKNOWN = _Recognised(len(WORDINGS), UnknownRefusal, None)


_LONGEST = 2 * max(len(row.text) for row in WORDINGS)


def _recognise(text: str, whole: bool) -> _Recognised:
    if not whole and len(text) > _LONGEST:
        return _UNKNOWN  # a reply may have a thousand of them
    words = _words(text[:MAX_READ])
    for rank, (pattern, row) in enumerate(_KNOWN):
        if pattern.fullmatch(words):
            return _Recognised(rank, row.meaning, row.text)
    if whole:
        for meaning in _MEANINGS:
            for rank, (pattern, row) in enumerate(_KNOWN):
                if row.meaning is meaning and pattern.search(words):
                    return _Recognised(rank, meaning, row.text)
            for fragment in FRAGMENTS.get(meaning, ()):
                if fragment in words:
                    return _Recognised(_UNKNOWN.rank - 1, meaning, _shown(fragment))
    return _UNKNOWN


def refusal(texts: Sequence[str], redact: Redact) -> LookupFailure:
    """What error texts about the whole request mean, whatever their case, spacing and punctuation."""
    if not texts:
        return UnknownRefusal("the platform answered 400 without a readable error")
    found, text = min(((_recognise(text, whole=True), text) for text in texts), key=lambda each: each[0].rank)
    return _made(found.meaning, text, found.wording, redact)


def entry_refusal(texts: Sequence[str], redact: Redact) -> LookupFailure:
    """What error texts in the entry of one message mean for that message: only a whole known wording counts."""
    found, text = min(((_recognise(text, whole=False), text) for text in texts), key=lambda each: each[0].rank)
    return _made(_OF_ONE_MESSAGE.get(found.meaning, found.meaning), text, found.wording, redact)


def known_refusal(texts: Iterable[str], redact: Redact) -> LookupFailure | None:
    """What error texts mean under a status for which only a whole known wording counts; None where none is."""
    for text in texts:
        found = _recognise(text, whole=False)
        if found is not _UNKNOWN:
            return _made(found.meaning, text, found.wording, redact)
    return None


def status_failure(
    status: int, texts: Sequence[str], redact: Redact, retry_after: float | None = None
) -> LookupFailure:
    """What a status other than 2xx and 400 means by itself. ``retry_after``: what the platform asks for with a 429."""
    if status == 401:
        message = redact(texts[0]) if texts else None
        return CredentialsRejected(
            "the platform answered with status 401",
            retry_after=CredentialsRejected.lasts,
            upstream_message=message,
            wording=STATUS_401,
        )
    if status == 429:
        return Throttled("the platform throttles", retry_after=retry_after)
    kind = ServerError if status >= 500 else UnexpectedStatus
    return kind(f"the platform answered with status {status}")


def _made(meaning: type[LookupFailure], text: str, wording: str | None, redact: Redact) -> LookupFailure:
    return meaning(
        "the platform refused with an error text",
        retry_after=meaning.lasts,
        upstream_message=redact(text),
        wording=wording,
    )


def error_text(entry: object) -> str | None:
    """The text under ``error`` of an object; None where there is none."""
    text = entry.get("error") if isinstance(entry, dict) else None
    # A number is no text: PHP code says 0 where there is no error.
    return text.strip() or None if isinstance(text, str) and not isinstance(text, JsonNumber) else None


def clean_message(text: str, secrets: Iterable[str]) -> str | None:
    """An error text that may be shown: without control characters, at most 200 characters long.

    None where it holds, however the platform may have escaped it, one of the ``secrets`` of four characters or more, or
    of a longer one a part (``app/upstream/leaks.py``); or where it is one of them and nothing else.
    """
    leaks = leaks_of(tuple(filter(None, secrets)))
    # What is shown must end long before what is looked at: half a secret is one, too. An escaped character takes up to
    # six.
    margin = 6 * leaks.longest
    read = text[: 2 * MAX_MESSAGE_LENGTH + margin]
    printable = read if read.isprintable() else _printable(read)
    cleaned = re.sub(r" {2,}", " ", printable).strip()
    if len(text) > len(read) and len(cleaned) < MAX_MESSAGE_LENGTH + margin:
        return None
    if any(leaks.is_in(each) for each in {read, printable, *_readings(cleaned)}):
        return None
    return cleaned[:MAX_MESSAGE_LENGTH].rstrip() or None


def _readings(text: str) -> set[str]:
    """A text, and what it may be an escape of: in HTML, in JSON, for a URL, or in several of them, one in the other."""
    seen = {text, text.replace("\\", ""), unquote_plus(text)}
    # Twice, since what holds a request in JSON may be put into JSON itself.
    for unescape in (html.unescape, _without_json_escapes, unquote) * 2:
        text = unescape(text)
        seen.add(text)
    return seen


def _without_json_escapes(text: str) -> str:
    return _JSON_ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)


def _printable(text: str) -> str:
    return "".join(
        " " if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
