"""Where settings come from: ``.env``, files, and the search for names typed wrongly."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import Settings
from app.settings.names import distance, misspelled
from app.settings.sources import EnvFile, parse_env_file, read_env_file, read_secret

NAMES = Settings.model_fields.keys()


def env_file(folder: Path, content: str | bytes) -> EnvFile:
    """What a ``.env`` with this content says."""
    path = folder / ".env"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    read = read_env_file(path, NAMES)
    return read._replace(
        errors=[each._replace(line=each.line.removeprefix(f"{path}, ")) for each in read.errors],
        warnings=[line.removeprefix(f"{path}, ") for line in read.warnings],
    )


@pytest.mark.parametrize("spelling", ["UPSTREAM_TOKEN", "upstream_token"])
def test_a_secrets_file_is_named_like_its_setting_in_either_case(tmp_path: Path, spelling: str) -> None:
    (tmp_path / spelling).write_text("abc\n")
    assert read_secret(tmp_path, "upstream_token") == "abc"


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"abc\r\n", "abc"), (b"\xef\xbb\xbfabc", "abc"), (b" \n", None), (b"", None), (b"a\nb", "a\nb")],
)
def test_white_space_and_byte_order_mark_around_a_secret_are_dropped(
    tmp_path: Path, content: bytes, secret: str | None
) -> None:
    (tmp_path / "UPSTREAM_TOKEN").write_bytes(content)
    assert read_secret(tmp_path, "upstream_token") == secret


def test_a_missing_file_and_a_missing_folder_hold_no_secret(tmp_path: Path) -> None:
    assert read_secret(tmp_path, "upstream_token") is None
    assert read_secret(tmp_path / "nowhere", "upstream_token") is None


def test_the_links_of_a_kubernetes_mount_are_followed(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "UPSTREAM_TOKEN").write_text("abc")
    os.symlink("..2026", tmp_path / "..data")
    os.symlink("..data/UPSTREAM_TOKEN", tmp_path / "UPSTREAM_TOKEN")
    assert read_secret(tmp_path, "upstream_token") == "abc"


def test_a_secret_that_is_a_folder_or_a_link_to_nowhere_is_never_taken_for_one_that_is_unset(tmp_path: Path) -> None:
    (tmp_path / "API_KEYS").mkdir()
    os.symlink("nowhere", tmp_path / "UPSTREAM_TOKEN")
    for name in ("api_keys", "upstream_token"):
        with pytest.raises(OSError, match="directory"):
            read_secret(tmp_path, name)


def test_a_missing_env_file_says_nothing(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / ".env", NAMES) == EnvFile({}, [], [], there=False)


UNREADABLE = "has a quote that is not closed, or text behind the closing one; allowed: NAME=value, quotes in pairs"
NO_FORM = "is not of the form NAME=value; a comment begins with #"
LATER = "has a quote that is closed on a later line only; allowed: a value on one line"


@pytest.mark.parametrize(
    ("content", "name", "line"),
    [
        ('API_KEYS="shop:key', "api_keys", f"line 1: {UNREADABLE}"),
        ("# x\n\n\nexport API_KEYS='shop:key\nPORT=1\n", "api_keys", f"line 4: {UNREADABLE}"),
        ('\r\nAPI_KEYS="a" b\r\n', "api_keys", f"line 2: {UNREADABLE}"),
        ("PORT=1\nAPI_KEYS\n", "api_keys", f"line 2: {NO_FORM}"),
        ("API_KEYS: shop:key\n", "api_keys", f"line 1: {NO_FORM}"),
        ("API KEYS=shop:key\n", "", f"line 1: {NO_FORM}"),
        ("=shop:key\n", "", f"line 1: {NO_FORM}"),
        ('API_KEYS="shop:key\nPORT="\n', "api_keys", f"line 1: {LATER}"),
        ('NOTE="it\nAPI_KEYS=shop:key\n"\n', "", f"line 1: {LATER}"),
        ("PORT=1\nA\0P\0I\0=1\n", "", "line 2: has NUL bytes; allowed: UTF-8"),
        (b"PORT=1\nUPSTREAM_TOKEN=\xff\n", "", "line 2: is not UTF-8"),
        ("PORT=1\n".encode("utf-16"), "", "line 1: is not UTF-8"),
    ],
)
def test_a_line_that_cannot_be_read_is_a_mistake_with_its_number(
    tmp_path: Path, content: str | bytes, name: str, line: str
) -> None:
    assert env_file(tmp_path, content).errors == [(name, line)]


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ("# a comment\n\nexport PORT = 8001 # another\n", {"port": "8001"}),
        ("UPSTREAM_PASSWORD='a#b\"c'\r\n", {"upstream_password": 'a#b"c'}),
        ("\ufeffPORT=1", {"port": "1"}),
        ("UPSTREAM_TOKEN=a#b=c", {"upstream_token": "a#b=c"}),
        ('CERTIFICATE="-----\nMII\n-----"\nPORT=1', {"certificate": "-----\nMII\n-----", "port": "1"}),
        ("PORT=\nHOST=' '\n", {}),
    ],
)
def test_what_shells_and_other_readers_take_is_taken(tmp_path: Path, content: str, values: dict[str, str]) -> None:
    read = env_file(tmp_path, content)
    assert (read.values, read.errors, read.warnings) == (values, [], [])


def test_an_empty_line_further_down_does_not_unset_what_was_set(tmp_path: Path) -> None:
    assert env_file(tmp_path, "API_KEYS=shop:key\nAPI_KEYS=\n").values == {"api_keys": "shop:key"}


def test_a_setting_that_is_there_twice_is_warned_about_and_the_last_counts(tmp_path: Path) -> None:
    read = env_file(tmp_path, "PORT=1\n\nport=2\n")
    assert read.values == {"port": "2"}
    assert read.warnings == ["line 3: PORT counts, and line 1 has no effect"]


def test_variables_in_a_value_are_not_expanded_and_warned_about(tmp_path: Path) -> None:
    read = env_file(tmp_path, "UPSTREAM_PASSWORD=a${HOME}b\nOTHER=${HOME}\n")
    assert read.values["upstream_password"] == "a${HOME}b"
    assert read.warnings == ["line 1: UPSTREAM_PASSWORD is taken as written; ${...} is not expanded"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_env_file_without_the_right_to_it_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.touch(mode=stat.S_IWUSR)
    assert [each.line for each in read_env_file(path, NAMES).errors] == [f"{path}: cannot be read (Permission denied)"]


def test_an_env_file_that_is_a_folder_is_a_mistake(tmp_path: Path) -> None:
    assert [each.line for each in read_env_file(tmp_path, NAMES).errors] == [
        f"{tmp_path}: cannot be read (Is a directory)"
    ]


@given(st.text(alphabet="API_KEYS=\"'#\n\r \\${}x:é\0", max_size=40))
def test_no_content_makes_reading_fail_and_none_is_shown(text: str) -> None:
    read = parse_env_file(text.encode(), Path("/nowhere"), NAMES)
    for line in [*(each.line for each in read.errors), *read.warnings]:
        assert line.startswith("/nowhere")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("API_KEY", "API_KEYS"),
        ("APIKEYS", "API_KEYS"),
        ("api_kyes", "API_KEYS"),
        ("UPSTREAM_TOKN", "UPSTREAM_TOKEN"),
        ("UPSTREAM_SOMETHING_ELSE", None),
        ("SECRET_DIR", "SECRETS_DIR"),
        ("CORS_ORIGIN", "CORS_ORIGINS"),
        ("PROT", "PORT"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_name_that_looks_like_a_settings_is_told_with_the_nearest(name: str, meant: str | None) -> None:
    (line,) = misspelled(NAMES, [name])
    assert line.startswith(f"{name.upper()}: is not a setting and has no effect; did you mean {meant or 'UPSTREAM_'}")


def test_a_secrets_file_with_an_ending_is_told(tmp_path: Path) -> None:
    assert misspelled(NAMES, [], ["API_KEYS.txt", "api_keys", "PORT", "token", "kubernetes.io"]) == [
        "API_KEYS.txt: is not a setting and has no effect; did you mean API_KEYS?"
    ]


def test_the_variables_of_an_ordinary_environment_are_not_told() -> None:
    ordinary = "HOME PATH PWD OLDPWD USER LANG TERM SHELL SHLVL HOSTNAME LOGNAME TZ EDITOR PAGER MAIL LC_ALL TMPDIR PS1"
    cluster = "KUBERNETES_SERVICE_HOST KUBERNETES_PORT REDIS_SERVICE_HOST REDIS_PORT POD_NAME NODE_NAME GPG_KEY"
    assert misspelled(NAMES, [*NAMES, *ordinary.split(), *cluster.split()]) == []


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [("", "", 0), ("a", "", 1), ("port", "port", 0), ("prot", "port", 1), ("prt", "port", 1), ("home", "host", 2)],
)
def test_the_distance_counts_letters_and_swaps(one: str, other: str, letters: int) -> None:
    assert distance(one, other) == distance(other, one) == letters
