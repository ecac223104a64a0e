"""Settings that are addresses: the platform's, and the cache's with what in it must not be shown."""

import re
from importlib.util import find_spec
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from app.settings_fields import mistake

MEMORY_URL = "memory:"


def is_platform_url(url: str) -> bool:
    """Whether it leads to a platform: plain, without credentials, which have settings of their own."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        unwanted = parts.username is not None or parts.password is not None or bool(parts.fragment)
    except ValueError:
        return False
    return usable and not unwanted and url.isascii() and url.isprintable() and " " not in url


def is_redis_url(url: str) -> bool:
    """Whether redis-py would understand it as it is meant.

    Of its options only those of TLS are let through: others would undo what the service relies on, as time limits.
    """
    try:
        parts = urlsplit(url)
        options = [name for name, _ in parse_qsl(parts.query, strict_parsing=bool(parts.query))]
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"redis", "rediss"}
        and bool(parts.hostname)
        and port != 0
        and re.fullmatch(r"/?|/[0-9]{1,5}", parts.path) is not None
        and not parts.fragment
        and all(parts.scheme == "rediss" and name.startswith("ssl_") for name in options)
        and url.isascii()
        and url.isprintable()
        and " " not in url
    )


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
    if url is not None and not is_redis_url(url):
        raise mistake("is not the URL of a cache")
    if url is not None and find_spec("redis") is None:
        raise mistake("needs the extra redis: pip install 'message-state-proxy[redis]'", "without it, memory:")
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
