"""The types that settings are parsed into: secrets, keys, networks, origins, URLs, the time zone.

Each is made of a text, once, and raises InvalidValue for a text that cannot be used. The lines of that name entries
by their position, never by what stands there: a secret may have been put in the wrong place.
"""

import hashlib
import hmac
import re
from collections.abc import Collection
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any, NamedTuple, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

from app.settings.addresses import Network, read_network

SANDBOX_URL = "sandbox:"
MEMORY_URL = "memory:"
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_KEY_LENGTH = 16
"""Characters. Keys are compared by a fast hash, so they must be long and random; a password is neither."""

_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")  # stands in a path as it is (RFC 3986, section 2.3)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_KEY = re.compile(r"[!-+\--~]*")  # printable ASCII without space and comma
_OTHER_SEPARATOR = re.compile(r"(?:[\r\n]+|;)\s*[A-Za-z0-9._-]{1,64}:")  # what follows it looks like the next entry
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
OWN_SEGMENTS = frozenset({"messages", "docs", "problems", "openapi.json", "livez", "readyz", "webhooks"})
"""What the service's own paths begin with. A prefix that begins so would be taken off the service's own paths."""
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_WRONG_BRACKETS = "has a host in brackets that is no IPv6 address"


class InvalidValue(ValueError):
    """A value cannot be used. ``lines``: what is wrong, free of values.

    ``allowed``: what is allowed, where the setting's own description does not say it. ``name``: the setting that the
    lines are about, where it is another one. ``missing``: the value is nowhere, so the places are told.
    """

    def __init__(self, *lines: str, allowed: str = "", name: str = "", missing: bool = False) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.allowed = allowed
        self.name = name
        self.missing = missing


class Secret(SecretStr):
    """A text that is never shown. ``parts``: what of it no log may show."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.parts: tuple[str, ...] = (text,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Made before pydantic looks at it: the schema of its own class hides the lines of an InvalidValue."""
        schema = super().__get_pydantic_core_schema__(source, handler)
        return no_info_before_validator_function(lambda given: cls(given) if isinstance(given, str) else given, schema)


class KeyHolder(NamedTuple):
    """A caller that has a key: its name, and the key's SHA-256 digest."""

    name: str
    digest: bytes


class ApiKeys(Secret):
    """The callers' keys, of ``name:key,name:key``. ``names``: the callers that hold one.

    Keys are compared as SHA-256 digests: the time of a comparison says nothing about a key.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        keys = _read_keys(text)
        self.parts = tuple(keys)
        self.names = tuple(keys.values())
        self._holders = tuple(KeyHolder(name, _digest(key.encode())) for key, name in keys.items())

    def name_of(self, credential: bytes) -> str | None:
        """The name of the caller with this key."""
        holder = self.holder_of(credential)
        return None if holder is None else holder.name

    def holder_of(self, credential: bytes) -> KeyHolder | None:
        """Who has this key. Every key is compared, so the time says nothing about any."""
        given = _digest(credential)
        found = None
        for holder in self._holders:
            if hmac.compare_digest(holder.digest, given):
                found = holder
        return found

    def has(self, digest: bytes | None) -> bool:
        """Whether the key with this digest is one of these."""
        return any(holder.digest == digest for holder in self._holders)


class WebhookToken(Secret):
    """A token that can stand in a path and cannot be guessed."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if not _TOKEN.fullmatch(text):
            raise InvalidValue("is too short, or has characters that cannot stand in a path")
        self._digest = _digest(text.encode())

    def matches(self, given: str) -> bool:
        """Whether this is the token. Digests are of one length, so comparing them takes one time."""
        return hmac.compare_digest(_digest(given.encode("utf-8", "replace")), self._digest)


class CacheUrl(Secret):
    """Where answers are kept. ``shared``: the URL of the cache that replicas share; None where there is memory alone.

    Of the options of a URL only those of TLS are let through: others would undo what the service relies on, as time
    limits.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.shared = None if text == MEMORY_URL else text
        if self.shared is None:
            self.parts = ()
            return
        wrong = _wrong_in_redis_url(text)
        if wrong is not None:
            raise InvalidValue(wrong)
        if find_spec("redis") is None:
            raise InvalidValue(
                "needs the extra redis: pip install '.[redis]' in the folder of the source",
                allowed="without it, memory:",
            )
        password = urlsplit(text).password
        if password:
            self.parts = (text, password, unquote(password))


class PlatformUrl(str):
    """The platform's address, without credentials, which have settings of their own; or ``sandbox:``."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        wrong = None if text == SANDBOX_URL else _wrong_in_platform_url(text)
        if wrong is not None:
            raise InvalidValue(wrong)
        return super().__new__(cls, text)

    @property
    def without_query(self) -> str:
        """As the log may show it: some put a key into the query."""
        return self.partition("?")[0]

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether requests leave this machine without TLS."""
        parts = urlsplit(self)
        return parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS


def networks(text: str) -> tuple[Network, ...]:
    """Networks, from ``10.0.0.0/8, 2001:db8::/32``; an address alone, also one with a port, is a network of one."""
    found: list[Network] = []
    wrong = []
    for position, entry in _entries(text):
        try:
            found.append(read_network(entry))
        except ValueError:
            wrong.append(f"entry {position} is not a network, or has bits beyond its prefix")
    _raise(wrong)
    return tuple(found)


def are_everything(found: Collection[Network]) -> bool:
    """Whether every address of IPv4 or of IPv6 is in one of these networks."""
    v4 = collapse_addresses(network for network in found if isinstance(network, IPv4Network))
    v6 = collapse_addresses(network for network in found if isinstance(network, IPv6Network))
    return IPv4Network("0.0.0.0/0") in v4 or IPv6Network("::/0") in v6


def origins(text: str) -> tuple[str, ...]:
    """Origins exactly as browsers send them (RFC 6454, section 6.1), from ``https://shop.example, http://host:8080``."""
    found = []
    wrong = []
    for position, entry in _entries(text):
        match = _ORIGIN.fullmatch(entry)
        if match is None or int(match[2] or 1) > 65535:
            wrong.append(f"entry {position} is not an origin: scheme://host or scheme://host:port in lower case")
        elif match[2] == _DEFAULT_PORTS.get(match[1], ""):
            wrong.append(f"entry {position} names the scheme's own port, which browsers leave out")
        else:
            found.append(entry)
    _raise(wrong)
    return tuple(found)


def root_path(text: str | None) -> str | None:
    """A prefix of paths without the slash at its end, from ``/sms`` or ``/sms/``; None for ``/``, which is none."""
    prefix = (text or "").rstrip("/")
    if not prefix:
        return None
    segments = prefix.split("/")[1:]
    if not _PREFIX.fullmatch(prefix) or {".", ".."} & set(segments):
        raise InvalidValue("is not a path of the form /name or /name/name")
    if segments[0] in OWN_SEGMENTS:
        raise InvalidValue(f"begins with /{segments[0]}, which is a path of the service's own")
    return prefix


def time_zone(text: str) -> ZoneInfo:
    """The time zone of this IANA name."""
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise InvalidValue("is not a known time zone") from None


def cache_prefix(text: str) -> str:
    """What keys in Redis may begin with."""
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", text):
        raise InvalidValue("is not a prefix of keys")
    return text


def _read_keys(text: str) -> dict[str, str]:
    """Each key and the name of the caller that holds it, from ``name:key,name:key``."""
    names: dict[str, int] = {}
    keys: dict[str, int] = {}
    wrong = []
    for position, entry in _entries(text):
        name, colon, key = entry.partition(":")
        separator = _OTHER_SEPARATOR.search(key)
        if separator:
            shown = "line end" if separator[0][0] in "\r\n" else separator[0][0]
            wrong.append(f"entry {position} has a {shown} between two keys, where a comma belongs")
            continue
        if not colon:
            wrong.append(f"entry {position} is not of the form name:key")
            continue
        if not _NAME.fullmatch(name):
            wrong.append(f"entry {position} has a name with other characters than A-Z a-z 0-9 . _ -, or not 1 to 64")
        if len(key) < MIN_KEY_LENGTH:
            wrong.append(f"entry {position} has a key of less than {MIN_KEY_LENGTH} characters")
        if not _KEY.fullmatch(key):
            wrong.append(f"entry {position} has a key with a space, or with characters beyond ASCII")
        for kind, value, seen in (("name", name, names), ("key", key, keys)):
            first = seen.setdefault(value, position)
            if first != position:
                wrong.append(f"entry {position} has the same {kind} as entry {first}")
    _raise(wrong)
    return dict(zip(keys, names, strict=True))


def _wrong_in_platform_url(url: str) -> str | None:
    """Which part of the platform's address is wrong, without showing any of it; None where none is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _WRONG_BRACKETS
    if parts.username is not None or parts.password is not None:
        return "has a user or a password in it, which have settings of their own"
    return (
        _wrong_in_address(url, parts, ("http", "https"))
        or _wrong_characters(url)
        or ("has a fragment (#...)" if "#" in url else None)
    )


def _wrong_in_redis_url(url: str) -> str | None:
    """Which part of a cache's address redis-py would not understand as it is meant; None where none is."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return _WRONG_BRACKETS
    if "#" in url:
        return "has a # in it; in a password write it as %23"
    wrong = _wrong_in_address(url, parts, ("redis", "rediss"))
    if wrong is None and re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) is None:
        wrong = "has a path that is no number of a database"
    if wrong is None and "?" in url:
        try:
            options = [name for name, _ in parse_qsl(parts.query, strict_parsing=True)]
        except ValueError:
            options = [""]
        if parts.scheme == "redis" or not all(name.startswith("ssl_") for name in options):
            wrong = "has options (?...) other than ssl_... of rediss://"
    return wrong or _wrong_characters(url)


def _wrong_in_address(url: str, parts: SplitResult, schemes: tuple[str, ...]) -> str | None:
    """What is wrong with scheme, host and port."""
    if parts.scheme not in schemes or not url.lower().startswith(f"{parts.scheme}://"):
        return f"does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}"
    if not parts.hostname:
        return "has no host"
    try:
        port = parts.port
    except ValueError:
        port = 0
    return "has a port that is none of 1 to 65535" if port == 0 else None


def _wrong_characters(url: str) -> str | None:
    if " " in url or not url.isprintable():
        return "has a space or a control character in it"
    return None if url.isascii() else "has characters beyond ASCII; write a host in punycode, others as %XX"


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _entries(text: str) -> list[tuple[int, str]]:
    return [(position, entry.strip()) for position, entry in enumerate(text.split(","), start=1)] if text else []


def _raise(wrong: list[str]) -> None:
    if wrong:
        raise InvalidValue(*wrong)
