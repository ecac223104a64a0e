"""Single values of the platform's entries, read leniently and exactly.

Each reader returns None where the platform gave no value, and raises ValueError where it gave one that cannot be
read (``read_id`` and ``read_word``
return None for both: an entry without a readable id or state is of no use).
"""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from app.lookup.record import MAX_MESSAGE_ID, is_word

_DIGITS = re.compile(r"[0-9]{1,16}")
_INTEGRAL = re.compile(r"([0-9]{1,9})(?:\.0+)?")
_PLAIN_PRICE = re.compile(r"-?[0-9]{1,30}(?:\.[0-9]{1,30})?")
_EXPONENT_PRICE = re.compile(r"-?[0-9]{0,30}\.?[0-9]{0,30}(?:[eE][+-]?[0-9]{1,2})?")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?")
_NO_TIME = frozenset({"", "0000-00-00 00:00:00", "0000-00-00T00:00:00"})


class JsonNumber(str):
    """A number of a JSON document by its own characters: ``10.6000000`` stays that, and ten thousand digits cost
    no arithmetic. Telling it from a string matters only where a word is expected."""

    __slots__ = ()


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
