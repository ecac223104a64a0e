"""Settings that hold lists, and the lines that a start with mistakes in them ends with."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings
from app.settings.loading import SettingsError, load_settings
from app.settings.parsed import ApiKeys, InvalidValue, networks, origins

KEY, OTHER = "planted-key-4be1f0", "planted-key-77c2aa"


def lines_of(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> list[str]:
    """What the start says about one setting."""
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    return stopped.value.lines


def test_keys_belong_to_the_names_before_them() -> None:
    keys = ApiKeys(f"shop:{KEY}, crm-2.eu_x:{OTHER}")
    assert (keys.names, keys.parts) == (("shop", "crm-2.eu_x"), (KEY, OTHER))


def test_a_key_may_hold_colons_and_any_printable_character_but_comma_and_space() -> None:
    key = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != ",")
    assert ApiKeys(f"shop:{key}").name_of(key.encode()) == "shop"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (KEY, ["entry 1 is not of the form name:key"]),
        (f"shop:{KEY},", ["entry 2 is not of the form name:key"]),
        (f":{KEY}", ["entry 1 has a name with other characters than A-Z a-z 0-9 . _ -, or not 1 to 64"]),
        (f"my shop:{KEY}", ["entry 1 has a name with other characters than A-Z a-z 0-9 . _ -, or not 1 to 64"]),
        (f"{'x' * 65}:{KEY}", ["entry 1 has a name with other characters than A-Z a-z 0-9 . _ -, or not 1 to 64"]),
        ("shop:planted-15chars", ["entry 1 has a key of less than 16 characters"]),
        ("shop:", ["entry 1 has a key of less than 16 characters"]),
        ("shop:planted key 4be1f0", ["entry 1 has a key with a space, or with characters beyond ASCII"]),
        ("shop:plánted-key-4be1f0", ["entry 1 has a key with a space, or with characters beyond ASCII"]),
        (f"shop:{KEY};crm:{OTHER}", ["entry 1 has a ; between two keys, where a comma belongs"]),
        (f"shop:{KEY}\ncrm:{OTHER}", ["entry 1 has a line end between two keys, where a comma belongs"]),
        (f"shop:{KEY}\r\n crm:{OTHER}", ["entry 1 has a line end between two keys, where a comma belongs"]),
        (f"shop:{KEY},shop:{OTHER}", ["entry 2 has the same name as entry 1"]),
        (f"shop:{KEY},crm:{KEY}", ["entry 2 has the same key as entry 1"]),
        (
            f"shop:{KEY},{OTHER},shop:planted-short",
            [
                "entry 2 is not of the form name:key",
                "entry 3 has a key of less than 16 characters",
                "entry 3 has the same name as entry 1",
            ],
        ),
    ],
)
def test_each_mistake_in_the_keys_is_a_line_of_its_own_without_any_value(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path, value: str, said: list[str]
) -> None:
    lines = lines_of(monkeypatch, "API_KEYS", value)
    assert [line.partition("; allowed: ")[0] for line in lines] == [f"API_KEYS: {each}" for each in said]
    assert "shop" not in "".join(lines)
    assert "nted" not in "".join(lines)


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_makes_the_keys_fail_otherwise_than_with_a_complaint_free_of_it(text: str) -> None:
    try:
        keys = ApiKeys(text)
    except InvalidValue as error:
        assert all(line.startswith("entry ") for line in error.lines)  # noqa: PT017 - both ends are right
    else:
        assert all(len(key) >= 16 and key.isascii() and key.isprintable() and " " not in key for key in keys.parts)


def test_networks_are_read_and_an_address_alone_is_one_of_them() -> None:
    assert networks("10.0.0.0/8, 192.0.2.7,fd00::/8") == tuple(map(ip_network, ("10.0.0.0/8", "192.0.2.7", "fd00::/8")))


def test_an_address_among_them_may_have_a_port_and_be_written_as_an_ipv6_one() -> None:
    text = "1.2.3.4:5678, [2001:db8::1]:443, [2001:db8::2], ::ffff:10.0.0.7, ::ffff:10.0.0.0/104, fe80::1%eth0"
    meant = ("1.2.3.4", "2001:db8::1", "2001:db8::2", "10.0.0.7", "10.0.0.0/8", "fe80::1")
    assert networks(text) == tuple(map(ip_network, meant))


@pytest.mark.parametrize(
    ("entry", "warned"),
    [
        ("0.0.0.0/0", True),
        ("::/0", True),
        ("10.0.0.0/8, ::/0", True),
        ("0.0.0.0/1, 128.0.0.0/1", True),
        ("::ffff:0:0/96", True),
        ("0.0.0.0/1, 8000::/1", False),
        ("0.0.0.0", False),
        ("10.0.0.0/8, fd00::/8", False),
        ("", False),
    ],
)
def test_trusting_everybody_is_warned_about(entry: str, warned: bool) -> None:
    lines = Settings.for_sandbox(trusted_proxies=entry).warnings()
    assert any(line.startswith("TRUSTED_PROXIES: trusts every address") for line in lines) is warned


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.1/8", "10.0.0.0/33", "proxy.example", "*", "", "10.0.0", "10.0.0.0/8:80", "1.2.3.4:99999", "[::1"],
)
def test_what_is_no_network_stops_the_start(monkeypatch: pytest.MonkeyPatch, empty_folder: Path, entry: str) -> None:
    (line,) = lines_of(monkeypatch, "TRUSTED_PROXIES", f"192.0.2.0/24,{entry}")
    assert line.startswith("TRUSTED_PROXIES: entry 2 is not a network, or has bits beyond its prefix; allowed: ")


def test_origins_are_taken_as_they_are() -> None:
    text = "https://shop.example, http://localhost:5173,http://[::1]:8080,capacitor://localhost,http://10.0.0.1"
    assert origins(text) == tuple(each.strip() for each in text.split(","))


@pytest.mark.parametrize(
    "entry",
    [
        "*",
        "null",
        "shop.example",
        "https://shop.example/",
        "https://shop.example/path",
        "https://*.shop.example",
        "https://Shop.example",
        "HTTPS://shop.example",
        "https://shop.example:443",
        "http://shop.example:80",
        "http://shop.example:0",
        "http://shop.example:65536",
        "https://user@shop.example",
        "https://shop.example?x",
        "https://мой.example",
        "https://",
        "",
    ],
)
def test_an_origin_that_no_browser_would_send_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path, entry: str
) -> None:
    (line,) = lines_of(monkeypatch, "CORS_ORIGINS", f"https://ok.example,{entry}")
    assert line.startswith("CORS_ORIGINS: entry 2 ")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "ten"])
def test_a_rate_that_is_no_positive_number_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path, value: str
) -> None:
    (line,) = lines_of(monkeypatch, "RATE_LIMIT", value)
    assert line.startswith("RATE_LIMIT: is ")
    assert line.endswith("; allowed: 0.001 to 1000000")


def test_a_service_without_keys_is_warned_about() -> None:
    def warned(settings: Settings) -> bool:
        return any(line.startswith("API_KEYS: is not set") for line in settings.warnings())

    assert warned(Settings.for_sandbox())
    assert not warned(Settings.for_sandbox(api_keys=f"shop:{KEY}"))


def test_each_key_alone_is_kept_out_of_the_log_and_no_repr_shows_any(
    monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> None:
    monkeypatch.setenv("UPSTREAM_URL", "sandbox:")
    monkeypatch.setenv("API_KEYS", f"shop:{KEY},crm:{OTHER}")
    settings, secrets, _ = load_settings()
    assert {KEY, OTHER} <= set(secrets.seen())
    assert "shop" not in secrets.seen()
    assert KEY not in repr(settings)
