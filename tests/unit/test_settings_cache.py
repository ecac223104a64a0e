"""The settings of the cache: which URLs are taken, and that none of them is ever shown."""

import io
import logging
from importlib.util import find_spec
from pathlib import Path

import pytest

from app import settings_urls
from app.settings_loading import SettingsError, load_settings
from app.telemetry.logs import configure_logs

SECRET = "s3cret-4711"

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.fixture(autouse=True)
def sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")


def test_answers_are_kept_in_memory_unless_a_url_says_otherwise() -> None:
    settings, _, _ = load_settings()
    assert settings.shared_cache_url is None
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
    assert settings.shared_cache_url == url
    assert url not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "memory",
        "memory://",
        f"http://me:{SECRET}@cache",
        "redis:///0",
        "redis://cache:99999",
        "redis://cache:0",
        "redis://cache/a",
        "redis://cache/0/1",
        "redis://cache#0",
        "redis://ca che",
        "redis://[::1",
        "redis://cache?ssl_cert_reqs=none",
        "rediss://cache?socket_timeout=60",
        "rediss://cache?decode_responses=1",
        "unix:///run/redis.sock",
    ],
)
def test_another_url_is_a_mistake_that_shows_nothing_of_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CACHE_URL", url)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert caught.value.lines == [
        "CACHE_URL: is not the URL of a cache; allowed: memory:, redis://user:password@host:port/database, "
        "or rediss:// with TLS"
    ]


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_urls, "find_spec", lambda name: None if name == "redis" else find_spec(name))
    monkeypatch.setenv("CACHE_URL", f"redis://me:{SECRET}@cache")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    (line,) = caught.value.lines
    assert line.startswith("CACHE_URL: needs the extra redis: pip install 'message-state-proxy[redis]'")


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

    assert settings.shared_cache_url == url
    assert SECRET not in stream.getvalue()
    assert stream.getvalue().count("[redacted]") == 3
