"""Settings from files."""

import os
from pathlib import Path

import pytest

from app.settings_files import read_dotenv, read_secret, unknown_names


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


def test_a_dotenv_file_may_be_missing_or_a_folder(tmp_path: Path) -> None:
    assert read_dotenv(tmp_path / ".env") == {}
    (tmp_path / ".env").mkdir()
    assert read_dotenv(tmp_path / ".env") == {}


def test_only_unknown_names_with_the_prefix_are_told(tmp_path: Path) -> None:
    known = ["upstream_url", "upstream_token"]
    lines = unknown_names(
        "upstream_", known, {"UPSTREAM_URI": "x", "upstream_url": "y", "PATH": "z"}, {}, str(tmp_path)
    )
    assert lines == ["UPSTREAM_URI: is not a setting and has no effect; did you mean UPSTREAM_URL?"]


def test_a_folder_that_is_not_there_has_no_unknown_names(tmp_path: Path) -> None:
    assert unknown_names("upstream_", ["upstream_url"], {}, {}, str(tmp_path / "nowhere")) == []
