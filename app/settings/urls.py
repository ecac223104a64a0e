"""Settings that are addresses: the platform's, and the cache's with what in it must not be shown."""

import re
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.settings.described import mistake

MEMORY_URL = "memory:"


def wrong_in_platform_url(url: str) -> str | None:
    """Which part of the platform's address is wrong, without showing any of it; None where none is.

    It is plain and without credentials, which have settings of their own.
    """
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


def wrong_in_redis_url(url: str) -> str | None:
    """Which part of a cache's address redis-py would not understand as it is meant; None where none is.

    Of its options only those of TLS are let through: others would undo what the service relies on, as time limits.
    """
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


_WRONG_BRACKETS = "has a host in brackets that is no IPv6 address"


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


def secrets_in(url: str) -> list[str]:
    """What of a URL no log may show: the whole of it, and its password in both spellings."""
    password = urlsplit(url).password
    return [url, password, unquote(password)] if password else [url]


def shared_url(value: SecretStr) -> str | None:
    """The URL of the cache that replicas share; None where there is memory alone."""
    url = value.get_secret_value()
    return None if url == MEMORY_URL else url


def _checked_url(value: SecretStr) -> SecretStr:
    url = shared_url(value)
    wrong = None if url is None else wrong_in_redis_url(url)
    if wrong is not None:
        raise mistake(wrong)
    if url is not None and find_spec("redis") is None:
        raise mistake(
            "needs the extra redis: pip install '.[redis]' in the folder of the source", "without it, memory:"
        )
    return value


def _checked_prefix(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", value):
        raise mistake("is not a prefix of keys")
    return value


CacheUrl = Annotated[SecretStr, AfterValidator(_checked_url)]
CachePrefix = Annotated[str, AfterValidator(_checked_prefix)]


def cache_url_field() -> Any:
    """The field of ``CACHE_URL``: a secret with a default that is none."""
    return Field(
        SecretStr(MEMORY_URL),
        description="Where answers are kept: `memory:`, or a Redis or Valkey that replicas share, behind the memory.",
        json_schema_extra={"allowed": "memory:, redis://user:password@host:port/database, or rediss:// with TLS"},
    )
