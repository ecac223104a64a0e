"""The array format of ``state.php``: what goes out, and what is made of whatever comes back.

Pure functions. What is documented and what is only possible: ``docs/upstream.md``.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from app.lookup.failures import EmptyReply, EntryRefused, InvalidReply, LookupFailure, MessageNotFound, RequestRefused
from app.lookup.record import MAX_MESSAGE_ID, STATES, Answer, MessageRecord, documented, is_word, merge
from app.upstream.body import JsonNumber
from app.upstream.errors import (
    MAX_READ,
    Redact,
    entry_refusal,
    error_text,
    known_refusal,
    refusal,
    status_failure,
)

_DIGITS = re.compile(r"[0-9]{1,16}")
_INTEGRAL = re.compile(r"([0-9]{1,9})(?:\.0+)?")
_PLAIN_PRICE = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_EXPONENT_PRICE = re.compile(r"-?[0-9]{0,30}\.?[0-9]{0,30}(?:[eE][+-]?[0-9]{1,2})?")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?")
_NO_TIME = frozenset({"", "0000-00-00 00:00:00", "0000-00-00T00:00:00"})


@dataclass(slots=True)
class ParsedReply:
    """A reply to several ids.

    ``answers`` holds an answer for each asked id that the reply speaks of; a missing id is simply not there, what
    that means is decided by ``Resolution``. ``unreadable`` names the fields that could not be read, once for each time;
    ``raw_words`` the words that were written otherwise than documented, ``undocumented`` those that nobody knows.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)
    raw_words: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)


def encode(asked: Mapping[int, bool], credentials: Mapping[str, str]) -> bytes:
    """The request's body: one object for each id, with the credentials and whether detail is wanted."""
    return json.dumps(
        [{**credentials, "id_sms": id_, "detail": int(detail)} for id_, detail in asked.items()],
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def decode(
    status: int,
    document: object,
    asked: Mapping[int, bool],
    zone: ZoneInfo,
    redact: Redact,
    *,
    retry_after: float | None = None,
) -> ParsedReply:
    """Read the JSON of a reply, as ``body.load`` has it: None for an empty one, InvalidReply for what is none.

    ``redact`` cleans an error text for the caller, or withholds it; ``retry_after``: seconds that a 429 asks for.
    Raises LookupFailure for an error of the whole request, for what is no reply at all, and, unless the body holds a
    known error text, for a status other than 2xx and 400.
    """
    if status >= 300 and status != 400:
        return _under_another_status(status, document, asked, zone, redact, retry_after=retry_after)
    if isinstance(document, InvalidReply):
        raise document if status != 400 else refusal([], redact)
    document = _shaped(document, asked)
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
    document: object,
    asked: Mapping[int, bool],
    zone: ZoneInfo,
    redact: Redact,
    *,
    retry_after: float | None,
) -> ParsedReply:
    document = None if isinstance(document, InvalidReply) else _shaped(document, asked)
    failure = known_refusal(_whole_texts(document), redact)
    if failure is not None:
        raise failure
    if isinstance(document, list) and document:
        own = [_texts(entry) if _id(entry) in asked else [] for entry in document]
        if all(known_refusal(texts, redact) is not None for texts in own):
            return _Reader(asked, zone, redact).read(document)
    raise status_failure(status, _whole_texts(document), redact, retry_after)


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


# One object for each word: a million records in memory share them.
_KNOWN_WORDS = {word: word for word in STATES}


class _Reader:
    """Reads the entries of one reply. What is there but cannot be read is noted in the reply's ``unreadable``."""

    def __init__(self, asked: Mapping[int, bool], zone: ZoneInfo, redact: Redact) -> None:
        self._asked = asked
        self._zone = zone
        self._redact = redact
        self._reply = ParsedReply()
        # A thousand unknown ids come with one sentence.
        self._refusals: dict[tuple[str, ...], LookupFailure] = {}
        # As with one word that the documentation does not have.
        self._harmless: set[str] = set()

    def read(self, entries: list[object]) -> ParsedReply:
        answers = self._reply.answers
        unattributed: LookupFailure | None = None
        for entry in entries:
            id_ = read_id(entry.get("id_sms")) if isinstance(entry, dict) else None
            if id_ is None or not isinstance(entry, dict):
                unattributed = unattributed or self._without_id(entry)
            elif id_ in self._asked:
                answer = self._entry(id_, entry)
                answers[id_] = answer if id_ not in answers else _better(answer, answers[id_])
        if isinstance(unattributed, RequestRefused | MessageNotFound) and not answers:
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
        known = _KNOWN_WORDS.get(state) if isinstance(state, str) and not entry.get("error") else None
        word = known or self._word(entry)
        if isinstance(word, LookupFailure):
            return word
        unreadable = self._reply.unreadable
        changed_at, parts, price = None, None, None
        name = time_field(entry)
        try:
            changed_at = read_time(entry.get(name), self._zone)
        except ValueError:
            unreadable.append(name)
        if not self._asked[id_]:
            return MessageRecord(id_, word, changed_at)
        try:
            parts = read_parts(entry.get("num_parts"))
        except ValueError:
            unreadable.append("num_parts")
        try:
            price = read_price(entry.get("price"))
        except ValueError:
            unreadable.append("price")
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
        if known is None:
            if word not in self._harmless:
                if self._redact(word) is None:
                    return InvalidReply("the state in the platform's entry is a credential")
                self._harmless.add(word)
            self._reply.undocumented.append(word)
        elif known != state:
            self._reply.raw_words.append(raw_word(word))
        return known or word


def raw_word(word: str) -> str:
    """A word of SMPP's, or a documented one in another spelling, as it is counted: one name for all spellings."""
    return word.upper()


def time_field(entry: Mapping[str, object]) -> str:
    """The name under which an entry has its time: replies and webhooks have one each, and may have the other's."""
    return "time" if not entry.get("time_change_state") and entry.get("time") else "time_change_state"


def _better(new: Answer, old: Answer) -> Answer:
    """Of two entries for one id: a state before a failure, the more recent state before the older."""
    if isinstance(old, LookupFailure):
        return new
    if isinstance(new, LookupFailure):
        return old
    # Both were asked for with the same detail, and nobody knows which of the two is the later report.
    return merge(new, old, in_order=False)


# Single values. Each reader returns None where the platform gave no value, and raises ValueError where it gave one that
# cannot be read (``read_id`` and ``read_word`` return None for both: without them an entry is of no use).


def read_word(value: object) -> str | None:
    """A state's word, without blanks around; None for anything else."""
    if not isinstance(value, str) or isinstance(value, JsonNumber):
        return None
    word = value.strip()
    return word if is_word(word) else None


def read_id(value: object) -> int | None:
    """A message id, number or string, in the range that JavaScript holds exactly; else None."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not _DIGITS.fullmatch(text):
        return None
    number = int(text)
    return number if 1 <= number <= MAX_MESSAGE_ID else None


def read_parts(value: object) -> int | None:
    """The number of parts: a non-negative whole number, also as a string."""
    text = _text(value)
    if not text:
        return None
    match = _INTEGRAL.fullmatch(text)
    if match is None:
        raise ValueError
    return int(match[1])


def read_price(value: object) -> str | None:
    """A price as decimal string with the platform's own digits, a dot, no exponent."""
    text = _text(value).replace(",", ".")
    if not text:
        return None
    if _PLAIN_PRICE.fullmatch(text):
        return text
    if not _EXPONENT_PRICE.fullmatch(text):
        raise ValueError
    try:
        return format(Decimal(text), "f")
    except InvalidOperation:
        raise ValueError from None


def read_time(value: object, zone: ZoneInfo) -> datetime | None:
    """A naive local time of the account as an aware one; an ambiguous one means the earlier."""
    text = _text(value)
    if text in _NO_TIME:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError
    naive = datetime.fromisoformat(match[1])
    # A quarter of what ``replace`` costs.
    moment = datetime.combine(naive, naive.time(), zone)
    # Before there were time zones, offsets had seconds, which RFC 3339 cannot write.
    offset = moment.utcoffset()
    if offset is None or offset.seconds % 60:
        raise ValueError
    return moment


def _text(value: object) -> str:
    """The characters of a string or number; empty for no value. Raises ValueError for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError
    return value.strip()
