"""The settings of the cache: which URLs are taken, that none of them is ever shown, and what lifetimes grow to."""

import io
import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.settings import parsed
from app.settings.loading import SettingsError, load_settings
from app.telemetry.logs import configure_logs

SECRET = "s3cret-4711"

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")


def test_answers_are_kept_in_memory_unless_a_url_says_otherwise() -> None:
    settings, _, _ = load_settings()
    assert settings.cache_url.shared is None
    assert settings.cache_prefix == "message-state"


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:6379/0",
        "redis://:pa%40ss@cache/15",
        "redis://user:pass@[::1]:6379",
        "rediss://user:pass@cache:6380/1?ssl_ca_certs=/etc/ssl/own.pem",
    ],
)
def test_a_redis_url_may_hold_user_password_and_database(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CACHE_URL", url)
    settings, _, _ = load_settings()
    assert settings.cache_url.shared == url
    assert url not in repr(settings)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("memory", "does not begin with redis:// or rediss://"),
        ("memory://", "does not begin with redis:// or rediss://"),
        (f"http://me:{SECRET}@cache", "does not begin with redis:// or rediss://"),
        ("unix:///run/redis.sock", "does not begin with redis:// or rediss://"),
        ("redis:///0", "has no host"),
        ("redis://cache:99999", "has a port that is none of 1 to 65535"),
        ("redis://cache:0", "has a port that is none of 1 to 65535"),
        ("redis://cache/a", "has a path that is no number of a database"),
        ("redis://cache/0/1", "has a path that is no number of a database"),
        (f"redis://:{SECRET}#x@cache", "has a # in it; in a password write it as %23"),
        ("redis://ca che", "has a space or a control character in it"),
        ("redis://[::1", "has a host in brackets that is no IPv6 address"),
        ("redis://cache?ssl_cert_reqs=none", "has options (?...) other than ssl_... of rediss://"),
        ("rediss://cache?socket_timeout=60", "has options (?...) other than ssl_... of rediss://"),
        ("rediss://cache?decode_responses=1", "has options (?...) other than ssl_... of rediss://"),
        ("rediss://cache?x", "has options (?...) other than ssl_... of rediss://"),
        ("redis://кэш", "has characters beyond ASCII; write a host in punycode, others as %XX"),
    ],
)
def test_another_url_is_a_mistake_that_names_the_part_and_shows_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch, url: str, wrong: str
) -> None:
    monkeypatch.setenv("CACHE_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.lines == [
        f"CACHE_URL: {wrong}; allowed: memory:, redis://user:password@host:port/database, or rediss:// with TLS"
    ]


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed, "find_spec", lambda name: None if name == "redis" else find_spec(name))
    monkeypatch.setenv("CACHE_URL", f"redis://me:{SECRET}@cache")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (line,) = caught.value.lines
    assert line.startswith("CACHE_URL: needs the extra redis: pip install '.[redis]' in the folder of the source")


@pytest.mark.parametrize("prefix", ["a b", "a*", "é", "x" * 101, "a\tb"])
def test_a_prefix_is_made_of_plain_characters(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("CACHE_PREFIX", prefix)
    with pytest.raises(SettingsError, match="CACHE_PREFIX: is not a prefix of keys; allowed: "):
        load_settings()


@pytest.mark.usefixtures("own_logging")
def test_a_url_from_a_secret_file_stays_out_of_the_log_and_so_does_its_password(empty_folder: Path) -> None:
    url = f"redis://me:{SECRET}%40x@cache/0"
    (empty_folder / "secrets" / "CACHE_URL").write_text(f"{url}\n")
    settings, secrets, _ = load_settings()
    stream = io.StringIO()
    configure_logs("info", "json", secrets.seen, stream)

    logging.getLogger("app").info("%s and %s and %s", url, f"{SECRET}%40x", f"{SECRET}@x")

    assert settings.cache_url.shared == url
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") == 3


@pytest.mark.parametrize(
    ("variables", "pending", "delivered"),
    [
        ({}, 60, 3600),
        ({"PENDING_TTL": "61.5", "DELIVERED_TTL": "3601"}, 61.5, 3601),
        ({"PENDING_TTL": "5", "DELIVERED_TTL": "5"}, 60, 3600),
        ({"PENDING_TTL_MAX": "2", "DELIVERED_TTL_MAX": "60"}, 2, 60),
        ({"PENDING_TTL": "0", "PENDING_TTL_MAX": "0"}, 0, 3600),
        ({"PENDING_TTL": "100", "PENDING_TTL_MAX": "1000"}, 1000, 3600),
    ],
)
def test_lifetimes_grow_to_their_defaults_or_to_themselves_where_they_are_more(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], pending: float, delivered: float
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings, _, _ = load_settings()
    assert (settings.pending_ttl_max, settings.delivered_ttl_max) == (pending, delivered)
    shown = settings.shown()
    assert (shown["pending_ttl_max"], shown["delivered_ttl_max"]) == (pending, delivered)
