"""The array format of ``state.php``: what goes out, and what is made of whatever comes back.

Pure functions. What is documented and what is only possible: ``docs/upstream.md``.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from zoneinfo import ZoneInfo

from app.lookup.failures import EmptyReply, EntryRefused, InvalidReply, LookupFailure, MessageNotFound, Refusal
from app.lookup.record import STATES, Answer, MessageRecord, documented, merge
from app.upstream.errors import (
    MAX_READ,
    Redact,
    entry_refusal,
    error_text,
    known_refusal,
    refusal,
    status_failure,
)
from app.upstream.values import JsonNumber, read_id, read_parts, read_price, read_time, read_word

T = TypeVar("T")

# A comma or bracket costs the reader an object of up to 100 bytes, so 8 MiB of them would cost hundreds. An honest
# reply to 1000 ids has about 7,000.
MAX_STRUCTURE = 100_000
MAX_ESCAPES = 2_000_000
"""Each costs the reader some time. A thousand Russian sentences have about 50,000."""
LONG_BODY = 64 * 1024
LONG_STRING = 8192
"""Bytes of a body above which it is searched for long strings, and of a string of which no more is of use."""


@dataclass(slots=True)
class Reply:
    """A reply to several ids.

    ``answers`` holds an answer for each asked id that the reply speaks of; a missing id is simply not there, what
    that means is the engine's decision. ``unreadable`` names the fields that could not be read, once for each time;
    ``raw_words`` the words that were written otherwise than documented.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    raw_words: list[str] = field(default_factory=list)


def encode(asked: Mapping[int, bool], credentials: Mapping[str, str]) -> bytes:
    """The request's body: one object for each id, with the credentials and whether detail is wanted."""
    return json.dumps(
        [{**credentials, "id_sms": id_, "detail": int(detail)} for id_, detail in asked.items()],
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def decode(
    status: int,
    text: str | InvalidReply,
    asked: Mapping[int, bool],
    zone: ZoneInfo,
    redact: Redact,
    *,
    retry_after: float | None = None,
) -> Reply:
    """Read the body of a reply, as ``text_of`` has it.

    ``redact`` cleans an error text for the caller, or withholds it; ``retry_after``: seconds that a 429 asks for.
    Raises LookupFailure for an error of the whole request, for what is no reply at all, and, unless the body holds a
    known error text, for a status other than 2xx and 400.
    """
    if status >= 300 and status != 400:
        return _under_another_status(status, text, asked, zone, redact, retry_after=retry_after)
    try:
        document = _shaped(load(text), asked) if isinstance(text, InvalidReply) or text.strip() else None
    except InvalidReply:
        if status == 400:
            raise refusal([], redact) from None
        raise
    if status == 400:
        if isinstance(document, list) and any(_texts(entry) for entry in document if _id(entry) in asked):
            return _Reader(asked, zone, redact).read(document)
        raise refusal(_whole_texts(document), redact)
    if document is None:
        raise EmptyReply("the platform's reply is empty")
    if isinstance(document, dict) and _texts(document):
        raise refusal(_texts(document), redact)
    if not isinstance(document, list):
        raise InvalidReply("the platform's reply is not an array")
    return _Reader(asked, zone, redact).read(document)


def _under_another_status(
    status: int,
    text: str | InvalidReply,
    asked: Mapping[int, bool],
    zone: ZoneInfo,
    redact: Redact,
    *,
    retry_after: float | None,
) -> Reply:
    try:
        document = _shaped(load(text), asked)
    except InvalidReply:
        document = None
    failure = known_refusal(_whole_texts(document), redact)
    if failure is not None:
        raise failure
    if isinstance(document, list) and document:
        own = [_texts(entry) if _id(entry) in asked else [] for entry in document]
        if all(known_refusal(texts, redact) is not None for texts in own):
            return _Reader(asked, zone, redact).read(document)
    raise status_failure(status, _whole_texts(document), redact, retry_after)


_DECODER = json.JSONDecoder(parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=JsonNumber)


def text_of(body: bytes | bytearray) -> str | InvalidReply:
    """The characters of a reply, or why it is not read any further."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_STRUCTURE:
        return InvalidReply("the platform's reply has too many parts")
    if len(body) > LONG_BODY:
        if body.count(b"\\") > MAX_ESCAPES:
            return InvalidReply("the platform's reply has too many escapes")
        body = _without_long_strings(body)
    try:
        # Without "utf-8-sig", which copies the body first.
        return body.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        # The platform is a Russian PHP site: what is not UTF-8 is most likely its old code page.
        return body.decode("cp1251", errors="replace")


def _without_long_strings(body: bytes | bytearray) -> bytes | bytearray:
    """A body with its endless strings cut: they would be copied several times, and nobody reads them to the end.

    Only where there is no escape: then every quote begins or ends a string.
    """
    if b"\\" in body:
        return body
    kept: list[bytes | bytearray] = []
    begin = place = counted = 0
    inside = False
    while place + LONG_STRING < len(body):
        quote = body.rfind(b'"', place, place + LONG_STRING)
        if quote >= 0:
            place = quote + 1
            continue
        inside ^= body.count(b'"', counted, place) % 2 == 1
        counted = place
        end = body.find(b'"', place)
        if end < 0:
            break
        if inside:
            cut = place + LONG_STRING
            while 0x80 <= body[cut] < 0xC0:  # a character of several bytes stays whole
                cut += 1
            kept.append(body[begin:cut])
            begin = end
        place = end
    return b"".join([*kept, body[begin:]]) if kept else body


def load(text: str | InvalidReply) -> object:
    """The platform's JSON, numbers by their own characters. Raises InvalidReply."""
    if isinstance(text, InvalidReply):
        raise text
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise InvalidReply("the platform's reply is not JSON") from None


def as_array(document: object) -> object:
    """What PHP writes in place of an array, as the array that it stands for; everything else as it is.

    An array of one may be its bare entry, one with a gap is an object by place, and an empty one ``{}``.
    """
    if not isinstance(document, dict):
        return document
    if "id_sms" in document:
        return [document]
    if all(isinstance(entry, dict) for entry in document.values()):
        return list(document.values())
    return document


def _shaped(document: object, asked: Mapping[int, bool]) -> object:
    if isinstance(document, dict) and _id(document) not in asked and _texts(document):
        # An error object, whatever else is in it: its text is about the whole request.
        return document
    return as_array(document)


def _id(entry: object) -> int | None:
    return read_id(entry.get("id_sms")) if isinstance(entry, dict) else None


def _texts(entry: object) -> list[str]:
    """The error texts of an object: its ``error``, and a sentence in the place of its state."""
    if not isinstance(entry, dict):
        return []
    error, state = error_text(entry), sentence(entry.get("state"))
    return [text for text in (error, state) if text is not None]


def _whole_texts(document: object) -> list[str]:
    """The error texts about the whole request: those of an object, or of the first entry without an id that has any."""
    entries = document if isinstance(document, list) else [document]
    return next((_texts(entry) for entry in entries if _id(entry) is None and _texts(entry)), [])


def sentence(state: object) -> str | None:
    """The error text that stands in the place of a state; None for a word, no state, and what cannot be read."""
    if not isinstance(state, str) or isinstance(state, JsonNumber):
        return None
    text = state.strip()
    # A lone surrogate is legal in JSON's escapes but is no character.
    if _WORD_OF_ANY_LENGTH.fullmatch(text) or not re.sub("[\ud800-\udfff]", "", text[:MAX_READ]):
        return None
    return text


_WORD_OF_ANY_LENGTH = re.compile(r"[A-Za-z0-9_-]+")


class _Reader:
    """Reads the entries of one reply. What is there but cannot be read is noted in the reply's ``unreadable``."""

    def __init__(self, asked: Mapping[int, bool], zone: ZoneInfo, redact: Redact) -> None:
        self._asked = asked
        self._zone = zone
        self._redact = redact
        self._reply = Reply()
        # A thousand unknown ids are told with one sentence.
        self._refusals: dict[tuple[str, ...], LookupFailure] = {}

    def read(self, entries: list[object]) -> Reply:
        answers = self._reply.answers
        unattributed: LookupFailure | None = None
        for entry in entries:
            id_ = read_id(entry.get("id_sms")) if isinstance(entry, dict) else None
            if id_ is None or not isinstance(entry, dict):
                unattributed = unattributed or self._without_id(entry)
            elif id_ in self._asked:
                answers[id_] = _better(self._entry(id_, entry), answers.get(id_))
        if isinstance(unattributed, Refusal | MessageNotFound) and not answers:
            # The refusal of the whole request, only put into an array: it may split the batch like any other.
            raise unattributed
        if unattributed is not None and not isinstance(unattributed, MessageNotFound):
            # An entry that cannot be read may be anybody's: who is missing now has not been shown to be unknown.
            for id_ in self._asked.keys() - answers.keys():
                answers[id_] = unattributed
        return self._reply

    def _without_id(self, entry: object) -> LookupFailure:
        texts = _texts(entry)
        if texts:
            return refusal(texts, self._redact)
        self._reply.unreadable.append("id_sms")
        return InvalidReply("an entry of the platform's reply has no readable id")

    def _entry(self, id_: int, entry: dict[str, object]) -> Answer:
        state = entry.get("state")
        # Nearly every entry: a documented word as it is, and no error.
        word = state if isinstance(state, str) and state in STATES and not entry.get("error") else self._word(entry)
        if isinstance(word, LookupFailure):
            return word
        changed_at = self._optional(time_field(entry), entry, lambda value: read_time(value, self._zone))
        if not self._asked[id_]:
            return MessageRecord(id_, word, changed_at)
        parts = self._optional("num_parts", entry, read_parts)
        price = self._optional("price", entry, read_price)
        return MessageRecord(id_, word, changed_at, parts, price, detailed=True)

    def _word(self, entry: dict[str, object]) -> str | LookupFailure:
        """The state that an entry gives, or what it says instead."""
        texts = tuple(_texts(entry))
        if texts:
            if texts not in self._refusals:
                self._refusals[texts] = entry_refusal(texts, self._redact)
            return self._refusals[texts]
        state = entry.get("state")
        if state is None or (isinstance(state, str) and not state.strip()):
            error = entry.get("error")
            if error and not isinstance(error, str):
                # Something is wrong, but not that the platform does not know the message.
                return EntryRefused("the platform's entry has an error that is no text")
            return MessageNotFound("the platform's entry has no state")
        word = read_word(state)
        if word is None:
            self._reply.unreadable.append("state")
            return InvalidReply("the state in the platform's entry cannot be read")
        known = documented(word)
        if known is None and self._redact(word) is None:
            return InvalidReply("the state in the platform's entry is a credential")
        if known is not None and known != state:
            self._reply.raw_words.append(raw_word(word))
        return known or word

    def _optional(self, name: str, entry: dict[str, object], read: Callable[[object], T | None]) -> T | None:
        try:
            return read(entry.get(name))
        except ValueError:
            self._reply.unreadable.append(name)
            return None


def raw_word(word: str) -> str:
    """A word of SMPP's, or a documented one in another spelling, as it is counted: one name for all spellings."""
    return word.upper()


def time_field(entry: Mapping[str, object]) -> str:
    """The name under which an entry has its time: replies and webhooks have one each, and may have the other's."""
    return "time" if not entry.get("time_change_state") and entry.get("time") else "time_change_state"


def _better(new: Answer, old: Answer | None) -> Answer:
    """Of two entries for one id: a state before a failure, the more recent state before the older."""
    if old is None or isinstance(old, LookupFailure):
        return new
    if isinstance(new, LookupFailure):
        return old
    # Both were asked for with the same detail, and nobody knows which of the two is the later report.
    return merge(new, old, in_order=False)
