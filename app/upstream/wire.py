"""The array format of ``state.php``: what goes out, and what is made of whatever comes back.

Pure functions. What is documented and what is only possible: ``docs/upstream.md``.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from zoneinfo import ZoneInfo

from app.lookup.failures import InvalidReply, LookupFailure, MessageNotFound, Refusal, UnknownRefusal
from app.lookup.record import Answer, MessageRecord, merge
from app.upstream.errors import error_text, refusal
from app.upstream.values import JsonNumber, read_id, read_parts, read_price, read_time

Redact = Callable[[str], str | None]
T = TypeVar("T")

# A comma or bracket costs the reader an object of up to 100 bytes, so 8 MiB of them would cost hundreds. An honest
# reply to 1000 ids has about 7,000.
MAX_STRUCTURE = 100_000
MAX_STATE_LENGTH = 100


@dataclass(slots=True)
class Reply:
    """A reply to several ids.

    ``answers`` holds an answer for each asked id that the reply speaks of; a missing id is simply not there, what
    that means is the engine's decision. ``unreadable`` names the fields that could not be read, once for each time.
    """

    answers: dict[int, Answer] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


def encode(asked: Mapping[int, bool], credentials: Mapping[str, str]) -> bytes:
    """The request's body: one object for each id, with the credentials and whether detail is wanted."""
    return json.dumps(
        [{**credentials, "id_sms": id_, "detail": int(detail)} for id_, detail in asked.items()],
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()


def decode(status: int, body: bytes, asked: Mapping[int, bool], zone: ZoneInfo, redact: Redact) -> Reply:
    """Read the body of a 200 or a 400.

    ``redact`` cleans an error text for the caller, or withholds it. Raises Refusal for an error of the whole
    request and InvalidReply for what is no reply at all.
    """
    try:
        document = parse(body)
    except InvalidReply:
        if status == 400:
            raise UnknownRefusal("the platform answered 400 without a readable error") from None
        raise
    if status == 400:
        raise refusal(error_text(document), redact)
    if isinstance(document, dict) and error_text(document) is not None:
        raise refusal(error_text(document), redact)
    if not isinstance(document, list):
        raise InvalidReply("the platform's reply is not an array")
    return _Reader(asked, zone, redact).read(document)


_DECODER = json.JSONDecoder(parse_int=JsonNumber, parse_float=JsonNumber, parse_constant=JsonNumber)


def parse(body: bytes) -> object:
    """The platform's JSON, numbers by their own characters. Raises InvalidReply."""
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_STRUCTURE:
        raise InvalidReply("the platform's reply has too many parts")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        # The platform is a Russian PHP site: what is not UTF-8 is most likely its old code page.
        text = body.decode("cp1251", errors="replace")
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise InvalidReply("the platform's reply is not JSON") from None


class _Reader:
    """Reads the entries of one reply. What is there but cannot be read is noted in the reply's ``unreadable``."""

    def __init__(self, asked: Mapping[int, bool], zone: ZoneInfo, redact: Redact) -> None:
        self._asked = asked
        self._zone = zone
        self._redact = redact
        self._reply = Reply()

    def read(self, entries: list[object]) -> Reply:
        answers = self._reply.answers
        unattributed: LookupFailure | None = None
        for entry in entries:
            id_ = read_id(entry.get("id_sms")) if isinstance(entry, dict) else None
            if id_ is None or not isinstance(entry, dict):
                unattributed = unattributed or self._without_id(entry)
            elif id_ in self._asked:
                answers[id_] = _better(self._entry(id_, entry), answers.get(id_))
        if isinstance(unattributed, Refusal) and not answers:
            # The refusal of the whole request, only put into an array: it may split the batch like any other.
            raise unattributed
        if unattributed is not None:
            # An entry that cannot be read may be anybody's: who is missing now has not been shown to be unknown.
            for id_ in self._asked.keys() - answers.keys():
                answers[id_] = unattributed
        return self._reply

    def _without_id(self, entry: object) -> LookupFailure:
        text = error_text(entry)
        if text is not None:
            return refusal(text, self._redact)
        self._reply.unreadable.append("id_sms")
        return InvalidReply("an entry of the platform's reply has no readable id")

    def _entry(self, id_: int, entry: dict[str, object]) -> Answer:
        text = error_text(entry)
        if text is not None:
            return refusal(text, self._redact)
        state = entry.get("state")
        if state is None or state == "":
            error = entry.get("error")
            if error and not isinstance(error, str):
                # Something is wrong, but not that the platform does not know the message.
                return UnknownRefusal("the platform's entry has an error that is no text")
            return MessageNotFound("the platform's entry has no state")
        if not is_word(state):
            self._reply.unreadable.append("state")
            return InvalidReply("the state in the platform's entry cannot be read")
        changed_at = self._optional("time_change_state", entry, lambda value: read_time(value, self._zone))
        if not self._asked[id_]:
            return MessageRecord(id_, str(state), changed_at)
        parts = self._optional("num_parts", entry, read_parts)
        price = self._optional("price", entry, read_price)
        return MessageRecord(id_, str(state), changed_at, parts, price, detailed=True)

    def _optional(self, name: str, entry: dict[str, object], read: Callable[[object], T | None]) -> T | None:
        try:
            return read(entry.get(name))
        except ValueError:
            self._reply.unreadable.append(name)
            return None


def is_word(state: object) -> bool:
    """Whether a value can be a state's word."""
    if not isinstance(state, str) or isinstance(state, JsonNumber) or len(state) > MAX_STATE_LENGTH:
        return False
    # A lone surrogate is legal in JSON's escapes but not in UTF-8, so it could not be passed on.
    return state.isascii() or re.search(r"[\ud800-\udfff]", state) is None


def _better(new: Answer, old: Answer | None) -> Answer:
    """Of two entries for one id: a state before a failure, the more recent state before the older."""
    if old is None or isinstance(old, LookupFailure):
        return new
    if isinstance(new, LookupFailure):
        return old
    # Both were asked for with the same detail, and nobody knows which of the two is the later report.
    return merge(new, old, in_order=False)
