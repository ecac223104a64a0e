"""Keeping secrets out of the log: what is searched for them, and what is the service's own and left alone.

Searched is what comes from outside: arguments, fields, exceptions, and whatever other packages log. The service's own
sentences, keys, levels and routes are left alone, since a login may be ``info``, and a line without the word could
not be read.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
MIN_SECRET = 4
"""Characters from which on a secret is searched for: a shorter one stands in many harmless words."""
OWN_LOGGERS = "app"
"""The loggers whose messages are the service's own sentences: this one and those below it."""

_OWN_PREFIX = f"{OWN_LOGGERS}."

Redact = Callable[[str], str]


class NotSecret(str):
    """An argument or field that is the service's own text, as a problem's slug or the name of a setting."""

    __slots__ = ()


def message_of(record: logging.LogRecord, redact: Redact) -> str:
    """A record's message, less the secrets in what did not come from the service itself."""
    if not record.name.startswith(_OWN_PREFIX) and record.name != OWN_LOGGERS:
        return redact(record.getMessage())
    if not record.args:
        return str(record.msg)
    if not isinstance(record.args, tuple):
        return record.getMessage()
    args = tuple(_Searched(value, redact) if isinstance(value, _TEXTUAL) else value for value in record.args)
    return str(record.msg) % args


class _Searched:
    """An argument that is searched as it is written, by ``%s`` or ``%r``."""

    def __init__(self, value: object, redact: Redact) -> None:
        self._value = value
        self._redact = redact

    def __str__(self) -> str:
        return str(self._value) if isinstance(self._value, NotSecret) else self._redact(str(self._value))

    def __repr__(self) -> str:
        return self._redact(repr(self._value))


_TEXTUAL = (str, bytes, BaseException, list, tuple, dict, set, frozenset)


def searched(value: object, redact: Redact) -> object:
    """A field's value less the secrets in it, the names of a mapping's members aside."""
    if isinstance(value, NotSecret | bool | int | float | None):
        return value
    if isinstance(value, Mapping):
        return {name: searched(each, redact) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [searched(each, redact) for each in value]
    return redact(str(value))


class Redactor:
    """Takes every secret out of a text. ``secrets`` is asked anew each time, since they rotate."""

    def __init__(self, secrets: Callable[[], tuple[str, ...]]) -> None:
        self._secrets = secrets
        self._known: tuple[str, ...] = ()
        self._spellings: list[str] = []

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        secrets = self._secrets()
        if secrets != self._known:
            self._known, self._spellings = secrets, _spellings(secrets)
        for spelling in self._spellings:
            if spelling in text:
                text = text.replace(spelling, REDACTED)
        return text


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Each secret as it may stand in a text: itself, escaped by JSON, repr() or for a URL, and once more by JSON."""
    spellings: set[str] = set()
    for secret in secrets:
        if len(secret) < MIN_SECRET:
            continue
        quoted = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
        once = {secret, *quoted, repr(secret)[1:-1], repr(secret.encode())[2:-1]}
        once |= {quote(secret, safe=""), quote_plus(secret)}
        spellings |= once | {json.dumps(spelling, ensure_ascii=False)[1:-1] for spelling in once}
    # The longest first: a secret that begins with another one must not leave its rest behind.
    return sorted(spellings, key=len, reverse=True)
