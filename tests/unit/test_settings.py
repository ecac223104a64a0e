"""The settings: where they come from, and every mistake as one readable line."""

from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from app.main import create_app
from app.settings import Settings, sources
from app.settings.fields import ROTATING
from app.settings.loading import SettingsError, load_settings
from tests.conftest import ROOT
from tests.support.manifests.code import is_secret
from tests.unit.test_settings_files import UNREADABLE

SECRET = "s3cret-4711"

pytestmark = pytest.mark.usefixtures("empty_folder", "closed")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a key for callers, so that the warning about open services stays out of the others."""
    monkeypatch.setenv("API_KEYS", "shop:planted-key-4be1f0")


def lines_of_a_bad_start() -> list[str]:
    """The lines that the current environment leads to."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == "\n".join(caught.value.lines)
    return caught.value.lines


def test_a_token_is_all_that_a_start_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_TOKEN", SECRET)
    settings, _, warnings = load_settings()
    assert isinstance(settings.upstream_token, SecretStr)
    assert settings.upstream_token.get_secret_value() == SECRET
    assert (settings.host, settings.port, str(settings.upstream_timezone)) == ("127.0.0.1", 8000, "Europe/Moscow")
    assert (settings.upstream_batch_size, settings.upstream_max_in_flight) == (100, 4)
    limits = [settings.upstream_connect_timeout, settings.upstream_attempt_timeout, settings.request_deadline]
    assert limits == [1, 2, 5]
    assert settings.log_level == "info"
    assert settings.log_format == "json"
    assert settings.upstream_url == "http://lk.mysmpp.ru/json/state.php"
    assert warnings == ["UPSTREAM_URL: plain http sends the account's credentials readable by anyone on the way"]


def test_the_sandbox_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    settings, _, warnings = load_settings()
    assert settings.sandboxed
    assert settings.alarms() == []
    assert warnings == ["UPSTREAM_URL: is sandbox:, so every answer is made up, and no platform is asked"]


def test_the_sandbox_beside_real_credentials_is_told_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv("UPSTREAM_LOGIN", SECRET)
    settings, _, warnings = load_settings()
    (line,) = settings.alarms()
    assert line.startswith("UPSTREAM_URL: is sandbox: although UPSTREAM_LOGIN is set: EVERY ANSWER IS MADE UP")
    assert warnings == []


def test_a_credential_that_is_too_short_to_be_kept_out_of_the_log_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"UPSTREAM_LOGIN": "info", "UPSTREAM_PASSWORD": "20e"}.items():
        monkeypatch.setenv(name, value)
    assert [line for line in load_settings()[2] if "fewer" in line] == [
        "UPSTREAM_PASSWORD: has fewer than 4 characters, so it is not searched for in the log"
    ]


def test_nothing_configured_is_one_line_that_names_both_ways_and_where_was_looked(empty_folder: Path) -> None:
    assert lines_of_a_bad_start() == [
        "UPSTREAM_TOKEN: is missing, and so are UPSTREAM_LOGIN and UPSTREAM_PASSWORD (looked for in the environment, "
        f"in {empty_folder / '.env'} (which is not there) and in {empty_folder / 'secrets'}); allowed: one of the two "
        "ways; UPSTREAM_URL=sandbox: needs neither"
    ]


MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "a login without password": ({"UPSTREAM_TOKEN": "", "UPSTREAM_LOGIN": SECRET}, "UPSTREAM_PASSWORD: is missing"),
    "a password without login": (
        {"UPSTREAM_TOKEN": "", "UPSTREAM_PASSWORD": SECRET},
        "UPSTREAM_PASSWORD: is set without",
    ),
    "an unknown zone": ({"UPSTREAM_TIMEZONE": "Mars/Olympus"}, "UPSTREAM_TIMEZONE: is not a known time zone"),
    "a zone outside of the zones": ({"UPSTREAM_TIMEZONE": "../../etc/passwd"}, "UPSTREAM_TIMEZONE: is not"),
    "a folder of zones": ({"UPSTREAM_TIMEZONE": "Europe"}, "UPSTREAM_TIMEZONE: is not"),
    "ftp": ({"UPSTREAM_URL": "ftp://host/x"}, "UPSTREAM_URL: does not begin with http:// or https://"),
    "no scheme": ({"UPSTREAM_URL": "lk.mysmpp.ru/json/state.php"}, "UPSTREAM_URL: does not begin with http://"),
    "one slash": ({"UPSTREAM_URL": "http:/host/x"}, "UPSTREAM_URL: does not begin with http://"),
    "no host": ({"UPSTREAM_URL": "http:///json"}, "UPSTREAM_URL: has no host"),
    "another sandbox": ({"UPSTREAM_URL": "sandbox:x"}, "UPSTREAM_URL: does not begin with"),
    "a user in the URL": ({"UPSTREAM_URL": f"http://me:{SECRET}@host/x"}, "UPSTREAM_URL: has a user or a password"),
    "a fragment in the URL": ({"UPSTREAM_URL": "http://host/x#y"}, "UPSTREAM_URL: has a fragment"),
    "a blank in the URL": ({"UPSTREAM_URL": "http://host/a b"}, "UPSTREAM_URL: has a space"),
    "a line end in the URL": ({"UPSTREAM_URL": "http://host/a\nb"}, "UPSTREAM_URL: has a space or a control"),
    "a host that is not ASCII": ({"UPSTREAM_URL": "http://хост/x"}, "UPSTREAM_URL: has characters beyond ASCII"),
    "a port that is none": ({"UPSTREAM_URL": "http://host:99999/"}, "UPSTREAM_URL: has a port that is none of 1"),
    "a port in words in the URL": ({"UPSTREAM_URL": "http://host:http/"}, "UPSTREAM_URL: has a port"),
    "port zero in the URL": ({"UPSTREAM_URL": "http://host:0/"}, "UPSTREAM_URL: has a port"),
    "half an IPv6 address": ({"UPSTREAM_URL": "http://[::1/"}, "UPSTREAM_URL: has a host in brackets"),
    "a token in quotes": ({"UPSTREAM_TOKEN": f'"{SECRET}"'}, "UPSTREAM_TOKEN: is still in quotes in the environment"),
    "keys in quotes": ({"API_KEYS": f"'shop:{SECRET}-long-enough'"}, "API_KEYS: is still in quotes in the environment"),
    "bytes that are no UTF-8": ({"UPSTREAM_TOKEN": "\udcff"}, "UPSTREAM_TOKEN: is not UTF-8 in the environment"),
    "a folder that is not there": ({"SECRETS_DIR": "/nowhere"}, "SECRETS_DIR: /nowhere is not there, or"),
    "an unknown propagator": ({"OTEL_PROPAGATORS": "tracecontext,b3x"}, "OTEL_PROPAGATORS: entry 2 is not installed"),
    "no propagator": ({"OTEL_PROPAGATORS": ""}, "OTEL_PROPAGATORS: entry 1 is not installed"),
    "authorities that are not there": (
        {"SSL_CERT_FILE": "/nowhere"},
        "SSL_CERT_FILE: /nowhere cannot be read (No such",
    ),
    "authorities that are none": ({"SSL_CERT_FILE": __file__}, f"SSL_CERT_FILE: {__file__} holds no certificate"),
    "no folder of authorities": ({"SSL_CERT_DIR": "/nowhere"}, "SSL_CERT_DIR: /nowhere is no folder"),
    "no folder of metrics": ({"PROMETHEUS_MULTIPROC_DIR": "/nowhere"}, "PROMETHEUS_MULTIPROC_DIR: is not a folder"),
    "a delay in words": ({"OTEL_BSP_SCHEDULE_DELAY": "5s"}, "OTEL_BSP_SCHEDULE_DELAY: is not a whole number from 1 on"),
    "an empty delay": ({"OTEL_BSP_EXPORT_TIMEOUT": ""}, "OTEL_BSP_EXPORT_TIMEOUT: is not a whole number from 1 on"),
    "no spans": ({"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, "OTEL_BSP_MAX_QUEUE_SIZE: is not a whole number from 1 on"),
    "half a span": (
        {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0.5"},
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE: is not a whole number from 1 on",
    ),
    "port zero": ({"PORT": "0"}, "PORT: is out of range; allowed: 1 to 65535"),
    "a port too high": ({"PORT": "65536"}, "PORT: is out of range; allowed: 1 to 65535"),
    "a port in words": ({"PORT": SECRET}, "PORT: is not a whole number; allowed: 1 to 65535"),
    "half a port": ({"PORT": "80.5"}, "PORT: is not a whole number"),
    "no batch": ({"UPSTREAM_BATCH_SIZE": "0"}, "UPSTREAM_BATCH_SIZE: is out of range; allowed: 1 to 1000"),
    "a batch too large": ({"UPSTREAM_BATCH_SIZE": "1001"}, "UPSTREAM_BATCH_SIZE: is out of range"),
    "nothing in flight": ({"UPSTREAM_MAX_IN_FLIGHT": "0"}, "UPSTREAM_MAX_IN_FLIGHT: is out of range"),
    "no time to connect": ({"UPSTREAM_CONNECT_TIMEOUT": "0"}, "UPSTREAM_CONNECT_TIMEOUT: is out of range"),
    "a negative time": ({"REQUEST_DEADLINE": "-1"}, "REQUEST_DEADLINE: is out of range; allowed: 0.001 to 300"),
    "NaN seconds": ({"REQUEST_DEADLINE": "nan"}, "REQUEST_DEADLINE: is "),
    "endless seconds": ({"REQUEST_DEADLINE": "inf"}, "REQUEST_DEADLINE: is "),
    "a time in words": ({"REQUEST_DEADLINE": "5s"}, "REQUEST_DEADLINE: is not a number"),
    "an attempt shorter than its connecting": (
        {"UPSTREAM_CONNECT_TIMEOUT": "3"},
        "UPSTREAM_ATTEMPT_TIMEOUT: is below UPSTREAM_CONNECT_TIMEOUT; allowed: at least the 3 of",
    ),
    "a pending maximum below the lifetime": (
        {"PENDING_TTL": "70", "PENDING_TTL_MAX": "69.5"},
        "PENDING_TTL_MAX: is below PENDING_TTL; allowed: at least the 70 of PENDING_TTL",
    ),
    "a delivered maximum below the default lifetime": (
        {"DELIVERED_TTL_MAX": "59"},
        "DELIVERED_TTL_MAX: is below DELIVERED_TTL; allowed: at least the 60 of DELIVERED_TTL",
    ),
    "a maximum in words": ({"PENDING_TTL_MAX": "1m"}, "PENDING_TTL_MAX: is not a number; allowed: PENDING_TTL to 3"),
    "an endless maximum": ({"PENDING_TTL_MAX": "99999999"}, "PENDING_TTL_MAX: is out of range; allowed: PENDING_TTL"),
    "a deadline shorter than an attempt": (
        {"REQUEST_DEADLINE": "1.5"},
        "REQUEST_DEADLINE: is below UPSTREAM_ATTEMPT_TIMEOUT; allowed: at least the 2 of",
    ),
    "a level that is none": (
        {"LOG_LEVEL": SECRET},
        "LOG_LEVEL: is not one of the possible values; allowed: debug, info, warning, error",
    ),
    "a format that is none": (
        {"LOG_FORMAT": "xml"},
        "LOG_FORMAT: is not one of the possible values; allowed: json, text",
    ),
}


@pytest.mark.parametrize(("variables", "start"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_with_name_complaint_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], start: str
) -> None:
    for name, value in ({"UPSTREAM_TOKEN": SECRET} | variables).items():
        monkeypatch.setenv(name, value)
    (line,) = lines_of_a_bad_start()
    assert line.startswith(start)
    assert "; allowed: " in line or "UTF-8" in line
    assert SECRET not in line


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_missing_authorities_do_not_matter_to_the_sandbox(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv(name, "/nowhere")
    settings, secrets, _ = load_settings()
    create_app(settings, secrets=secrets)


def test_right_numbers_for_the_batches_of_spans_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", " 500 ")
    load_settings()


def test_all_mistakes_of_one_start_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"PORT": SECRET, "UPSTREAM_URL": f"ftp://{SECRET}", "UPSTREAM_TIMEZONE": SECRET, "LOG_FORMAT": SECRET,
           "UPSTREAM_LOGIN": SECRET, "UPSTREAM_CONNECT_TIMEOUT": "4", "REQUEST_DEADLINE": SECRET}  # fmt: skip
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    lines = lines_of_a_bad_start()
    assert [line.partition(":")[0] for line in lines] == [
        "PORT", "UPSTREAM_URL", "UPSTREAM_PASSWORD", "UPSTREAM_TIMEZONE", "UPSTREAM_ATTEMPT_TIMEOUT",
        "REQUEST_DEADLINE", "LOG_FORMAT",
    ]  # fmt: skip
    assert SECRET not in "".join(lines)


def test_a_token_and_a_login_is_allowed_with_a_warning_and_the_token_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UPSTREAM_TOKEN", "UPSTREAM_LOGIN", "UPSTREAM_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("UPSTREAM_URL", "https://my3.webcom.mobi/json/state.php")
    assert load_settings()[2] == ["UPSTREAM_TOKEN: wins; UPSTREAM_LOGIN and UPSTREAM_PASSWORD are not used"]
    monkeypatch.delenv("UPSTREAM_PASSWORD")
    assert len(load_settings()[2]) == 1


def test_a_deadline_without_room_for_a_retry_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv("REQUEST_DEADLINE", "4.25")
    assert len(load_settings()[2]) == 1
    monkeypatch.setenv("REQUEST_DEADLINE", "4.2")
    _, warning = load_settings()[2]
    assert warning.startswith("REQUEST_DEADLINE: has no room for a retry")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_to_this_machine_is_not_warned_about(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("UPSTREAM_TOKEN", SECRET)
    monkeypatch.setenv("UPSTREAM_URL", f"http://{host}:9100/json/state.php")
    assert load_settings()[2] == []


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_empty_means_unset(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    for name in ("PORT", "HOST", "UPSTREAM_LOGIN", "UPSTREAM_TOKEN", "LOG_LEVEL", "UPSTREAM_TIMEZONE"):
        monkeypatch.setenv(name, blank)
    settings, *_ = load_settings()
    assert (settings.port, settings.host, settings.log_level) == (8000, "127.0.0.1", "info")
    assert (settings.upstream_login, settings.upstream_token) == (None, None)


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_an_empty_variable_hides_neither_the_dotenv_file_nor_a_secrets_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, blank: str
) -> None:
    (tmp_path / "UPSTREAM_TOKEN").write_text(SECRET)
    Path(".env").write_text("PORT=8123\nUPSTREAM_TOKEN=' '\n")
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    for name in ("UPSTREAM_TOKEN", "PORT"):
        monkeypatch.setenv(name, blank)
    settings, secrets, _ = load_settings()
    assert (settings.port, secrets.get("upstream_token")) == (8123, SECRET)


def test_a_line_end_pasted_with_a_value_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAM_TOKEN", f" {SECRET}\n")
    monkeypatch.setenv("LOG_LEVEL", " WARNING ")
    settings, *_ = load_settings()
    assert settings.upstream_token is not None
    assert settings.upstream_token.get_secret_value() == SECRET
    assert settings.log_level == "warning"


def test_the_environment_comes_before_dotenv_and_dotenv_before_secret_files(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    for name in ("UPSTREAM_TOKEN", "UPSTREAM_LOGIN", "UPSTREAM_PASSWORD"):
        (empty_folder / "secrets" / name).write_text("from the file\n")
    (empty_folder / ".env").write_text("UPSTREAM_TOKEN=from dotenv\nUPSTREAM_LOGIN=from dotenv\n")
    monkeypatch.setenv("UPSTREAM_TOKEN", "from the environment")
    settings, *_ = load_settings()
    chosen = [settings.upstream_token, settings.upstream_login, settings.upstream_password]
    assert [each.get_secret_value() for each in chosen if each] == [
        "from the environment",
        "from dotenv",
        "from the file",
    ]


def test_an_empty_variable_leaves_the_word_to_the_next_source(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    (empty_folder / ".env").write_text("UPSTREAM_TOKEN=\n")
    (empty_folder / "secrets" / "upstream_token").write_text(SECRET)
    monkeypatch.setenv("UPSTREAM_TOKEN", "")
    settings, *_ = load_settings()
    assert settings.upstream_token is not None
    assert settings.upstream_token.get_secret_value() == SECRET


def test_the_folder_of_secrets_may_be_named_in_dotenv(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    monkeypatch.delenv("SECRETS_DIR")
    (empty_folder / "elsewhere").mkdir()
    (empty_folder / "elsewhere" / "UPSTREAM_TOKEN").write_text(SECRET)
    (empty_folder / ".env").write_text("SECRETS_DIR=elsewhere\n")
    assert load_settings()[0].upstream_token is not None


def test_files_that_cannot_be_read_are_a_line_each_with_their_name(empty_folder: Path) -> None:
    secrets = empty_folder / "secrets"
    (secrets / "UPSTREAM_TOKEN").write_bytes(b"\xff" + SECRET.encode())
    (secrets / "webhook_token").mkdir()
    (secrets / "UPSTREAM_LOGIN").write_text(f"'{SECRET}'")
    Path(".env").write_text(f'PORT=1\nAPI_KEYS="shop:{SECRET}-long\n')
    assert lines_of_a_bad_start() == [
        f".env, line 2: {UNREADABLE}",
        f"UPSTREAM_TOKEN: the file {secrets / 'UPSTREAM_TOKEN'} is not UTF-8",
        f"WEBHOOK_TOKEN: the file {secrets / 'webhook_token'} cannot be read (Is a directory)",
        f"UPSTREAM_LOGIN: is still in quotes in its file in {secrets}, where they are part of the value; allowed: the "
        "value without them (in .env, unlike docker's --env-file, quotes may stand around it)",
        f"UPSTREAM_PASSWORD: is missing although UPSTREAM_LOGIN is set (looked for in the environment, in "
        f"{empty_folder / '.env'} and in {secrets}); allowed: both of them, or UPSTREAM_TOKEN",
    ]


def test_a_folder_of_secrets_that_is_not_named_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRETS_DIR")
    monkeypatch.setattr(sources, "DEFAULT_FOLDER", "/nowhere")
    monkeypatch.setenv("UPSTREAM_TOKEN", SECRET)
    assert load_settings()[0].upstream_token is not None


def test_a_file_that_a_variable_hides_is_warned_about_and_so_is_an_empty_one(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "https://platform.test/")
    monkeypatch.setenv("UPSTREAM_TOKEN", SECRET)
    secrets = empty_folder / "secrets"
    (secrets / "UPSTREAM_TOKEN").write_text(SECRET)
    (secrets / "WEBHOOK_TOKEN").touch()
    assert load_settings()[2] == [
        f"UPSTREAM_TOKEN: a variable wins, so its file in {secrets} is neither used nor read anew",
        f"WEBHOOK_TOKEN: its file in {secrets} is empty, which means unset",
    ]


def test_an_unknown_upstream_name_is_warned_about_with_the_nearest_right_one(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv("UPSTREAM_TOKN", SECRET)
    (empty_folder / ".env").write_text(f"UPSTREAM_PASWORD={SECRET}\nOTHER=1\n")
    (empty_folder / "secrets" / "upstream_logn").write_text(SECRET)
    assert load_settings()[2][1:] == [
        "upstream_logn: is not a setting and has no effect; did you mean UPSTREAM_LOGIN?",
        "UPSTREAM_PASWORD: is not a setting and has no effect; did you mean UPSTREAM_PASSWORD?",
        "UPSTREAM_TOKN: is not a setting and has no effect; did you mean UPSTREAM_TOKEN?",
    ]


def test_no_secret_is_in_a_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("UPSTREAM_TOKEN", "UPSTREAM_LOGIN", "UPSTREAM_PASSWORD"):
        monkeypatch.setenv(name, SECRET)
    settings, *_ = load_settings()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_settings_for_the_sandbox_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    monkeypatch.setenv("UPSTREAM_TOKEN", SECRET)
    settings = Settings.for_sandbox()
    assert (settings.port, settings.upstream_token, settings.sandboxed) == (8000, None, True)


def test_the_example_names_every_setting_with_a_comment_and_loads(empty_folder: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert [line for line in example.splitlines() if line.startswith(("HOST", "UPSTREAM_URL", "SECRETS_DIR"))] == []
    (empty_folder / ".env").write_text(example + "\nUPSTREAM_TOKEN=anything\n", encoding="utf-8")
    named = {line.lstrip("# ").partition("=")[0] for line in example.splitlines() if "=" in line}
    assert {name.upper() for name in Settings.model_fields} <= named
    settings, _, warnings = load_settings()
    assert not settings.sandboxed
    assert not [line for line in warnings if "is not a setting" in line]


def test_the_example_as_it_is_says_what_is_missing(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text((ROOT / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    (line,) = lines_of_a_bad_start()
    assert line.startswith("UPSTREAM_TOKEN: is missing")


def test_every_setting_says_why_it_exists() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_secret_may_rotate_but_the_caches_url() -> None:
    """A secret that is added is read anew from its file, or somebody has decided that it is not."""
    assert {name for name, field in Settings.model_fields.items() if is_secret(field)} == {*ROTATING, "cache_url"}
    for name, kind in ROTATING.items():
        assert Settings.model_fields[name].annotation == kind | None


def test_values_are_parsed_into_the_types_that_the_service_uses() -> None:
    settings = Settings.for_sandbox(
        upstream_timezone="Asia/Omsk",
        trusted_proxies="10.0.0.0/8, 192.0.2.7",
        cors_origins="https://shop.example",
        cache_url="redis://:planted@cache",
    )
    assert settings.upstream_timezone == ZoneInfo("Asia/Omsk")
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("192.0.2.7/32"))
    assert settings.cors_origins == ("https://shop.example",)
    shown = settings.shown()
    assert (shown["upstream_timezone"], shown["cors_origins"]) == ("Asia/Omsk", "https://shop.example")
    assert (shown["trusted_proxies"], shown["cache_url"]) == ("10.0.0.0/8, 192.0.2.7/32", "set")
    assert Settings.for_sandbox().shown()["trusted_proxies"] is None
