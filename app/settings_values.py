"""Settings that hold lists, or have a form: ``API_KEYS``, ``CORS_ORIGINS``, ``ROOT_PATH``, ``WEBHOOK_TOKEN`` and more.

Each function raises ValueError with a line for every mistake. The lines name entries by their position, never by
what stands there: a secret may have been put in the wrong place.
"""

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from app.settings_fields import mistake

MIN_KEY_LENGTH = 16
"""Characters. Keys are compared by a fast hash, so they must be long and random; a password is neither."""

Network = IPv4Network | IPv6Network

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")  # stands in a path as it is (RFC 3986, section 2.3)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[!-+\--~]*")  # printable ASCII without space and comma
_OTHER_SEPARATOR = re.compile(r"(?:[\r\n]+|;)\s*[A-Za-z0-9._-]{1,64}:")  # what follows it looks like the next entry
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
OWN_SEGMENTS = frozenset({"messages", "docs", "problems", "openapi.json", "livez", "readyz", "webhooks"})
"""What the service's own paths begin with. A prefix that begins so would be taken off the service's own paths."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def api_keys(text: str) -> dict[str, str]:
    """Each key and the name of the caller that holds it, from ``name:key,name:key``."""
    names: dict[str, int] = {}
    keys: dict[str, int] = {}
    mistakes = []
    for position, entry in _entries(text):
        name, colon, key = entry.partition(":")
        separator = _OTHER_SEPARATOR.search(key)
        if separator:
            shown = "line end" if separator[0][0] in "\r\n" else separator[0][0]
            mistakes.append(f"entry {position} has a {shown} between two keys, where a comma belongs")
            continue
        if not colon:
            mistakes.append(f"entry {position} is not of the form name:key")
            continue
        if not _NAME.fullmatch(name):
            mistakes.append(f"entry {position} has a name with other characters than A-Z a-z 0-9 . _ -, or not 1 to 64")
        if len(key) < MIN_KEY_LENGTH:
            mistakes.append(f"entry {position} has a key of less than {MIN_KEY_LENGTH} characters")
        if not _KEY.fullmatch(key):
            mistakes.append(f"entry {position} has a key with a space, or with characters beyond ASCII")
        for kind, value, seen in (("name", name, names), ("key", key, keys)):
            first = seen.setdefault(value, position)
            if first != position:
                mistakes.append(f"entry {position} has the same {kind} as entry {first}")
    _complain(mistakes)
    return dict(zip(keys, names, strict=True))


def webhook_token(text: str) -> str:
    """A token that can stand in a path and cannot be guessed."""
    if not _TOKEN.fullmatch(text):
        raise ValueError("is too short, or has characters that cannot stand in a path")
    return text


def _is_a_token(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        try:
            webhook_token(value.get_secret_value())
        except ValueError as error:
            raise mistake(str(error)) from None
    return value


WebhookToken = Annotated[
    SecretStr | None,
    Field(
        description="Ends the webhook's path, `/webhooks/message-states/TOKEN`; unset = no webhook.",
        json_schema_extra={"allowed": "at least 16 characters A-Z a-z 0-9 . _ ~ -"},
    ),
    AfterValidator(_is_a_token),
]


def networks(text: str) -> tuple[Network, ...]:
    """Networks, from ``10.0.0.0/8, 2001:db8::/32``; an address alone is a network of one."""
    found: list[Network] = []
    mistakes = []
    for position, entry in _entries(text):
        try:
            found.append(ip_network(entry))
        except ValueError:
            mistakes.append(f"entry {position} is not a network, or has bits beyond its prefix")
    _complain(mistakes)
    return tuple(found)


def origins(text: str) -> tuple[str, ...]:
    """Origins exactly as browsers send them (RFC 6454, section 6.1), from ``https://shop.example, http://host:8080``."""
    found = []
    mistakes = []
    for position, entry in _entries(text):
        match = _ORIGIN.fullmatch(entry)
        if match is None or int(match[2] or 1) > 65535:
            mistakes.append(f"entry {position} is not an origin: scheme://host or scheme://host:port in lower case")
        elif match[2] == _DEFAULT_PORTS.get(match[1], ""):
            mistakes.append(f"entry {position} names the scheme's own port, which browsers leave out")
        else:
            found.append(entry)
    _complain(mistakes)
    return tuple(found)


def root_path(text: str) -> str | None:
    """A prefix of paths without the slash at its end, from ``/sms`` or ``/sms/``; None for ``/``, which is none."""
    prefix = text.rstrip("/")
    if text and not prefix:
        return None
    segments = prefix.split("/")[1:]
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(segments):
        raise ValueError("is not a path of the form /name or /name/name")
    if segments[0] in OWN_SEGMENTS:
        raise ValueError(f"begins with /{segments[0]}, which is a path of the service's own")
    return prefix


def _entries(text: str) -> list[tuple[int, str]]:
    return [(position, entry.strip()) for position, entry in enumerate(text.split(","), start=1)]


def _complain(mistakes: list[str]) -> None:
    if mistakes:
        raise ValueError("\n".join(mistakes))
