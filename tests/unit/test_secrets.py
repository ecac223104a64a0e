"""Secrets that change while the service runs."""

import logging
import os
from pathlib import Path

import pytest

from app.settings.fields import ROTATING
from tests.support.service import secrets_in

NAME = "upstream_token"
KEYS = "shop:sixteen-characters"


def mount(folder: Path, version: str, value: str) -> None:
    """Write a secret as Kubernetes mounts it: the file is a link into a folder that is swapped as a whole."""
    (folder / version).mkdir()
    (folder / version / NAME.upper()).write_text(value)
    (folder / "..new").symlink_to(version)
    os.replace(folder / "..new", folder / "..data")
    if not (folder / NAME.upper()).is_symlink():
        (folder / NAME.upper()).symlink_to(Path("..data") / NAME.upper())


def test_a_changed_file_counts_once_it_has_stayed_the_same_for_one_look(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    (tmp_path / NAME.upper()).write_text("new")
    assert not secrets.refresh()
    assert secrets.get(NAME) == "old"
    assert secrets.refresh()
    assert secrets.get(NAME) == "new"


def test_a_half_written_file_is_never_in_force(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    file = tmp_path / NAME.upper()
    for content in ("n", "ne", "new"):
        file.write_text(content)
        assert not secrets.refresh()
    assert secrets.get(NAME) == "old"
    secrets.refresh()
    assert secrets.get(NAME) == "new"


def test_a_rejected_secret_is_replaced_at_once(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    (tmp_path / NAME.upper()).write_text("new")
    assert secrets.refresh(at_once=True)
    assert secrets.get(NAME) == "new"


def test_a_folder_swapped_by_kubernetes_is_noticed(tmp_path: Path) -> None:
    mount(tmp_path, "..2026_11_20", "old")
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    assert not secrets.refresh(at_once=True)
    mount(tmp_path, "..2026_11_21", "new\n")
    assert secrets.refresh(at_once=True)
    assert secrets.get(NAME) == "new"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe\xff", None], ids=["empty", "blank", "not UTF-8", "gone"])
def test_an_unusable_file_keeps_the_old_value_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    caplog.set_level(logging.INFO)
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    if content is not None:
        (tmp_path / NAME.upper()).write_bytes(content)
    for at_once in (False, True, True):
        assert not secrets.refresh(at_once=at_once)
    assert secrets.get(NAME) == "old"
    assert [record.getMessage() for record in caplog.records] == [
        "the file of UPSTREAM_TOKEN is empty, unreadable or gone: its former value stays in force"
    ]


def test_a_secret_from_the_environment_is_not_changed_by_a_file(tmp_path: Path) -> None:
    (tmp_path / NAME.upper()).write_text("new")
    secrets = secrets_in(tmp_path, upstream_token="old")
    assert not secrets.refresh(at_once=True)
    assert secrets.get(NAME) == "old"


def test_a_refresh_returns_the_names_and_the_log_never_has_the_values(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = secrets_in(tmp_path, NAME)
    (tmp_path / NAME.upper()).write_text("planted-value")
    assert secrets.refresh(at_once=True) == [NAME]
    assert "UPSTREAM_TOKEN" in caplog.text
    assert "planted-value" not in caplog.text


def test_former_values_stay_out_of_the_log_as_well(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, NAME, upstream_token="old")
    (tmp_path / NAME.upper()).write_text("new")
    secrets.refresh(at_once=True)
    assert set(secrets.seen()) == {"old", "new"}


def test_only_the_names_asked_for_are_taken_at_once(tmp_path: Path) -> None:
    """A refusal by the platform says nothing about a file of callers' keys that is half-written just then."""
    secrets = secrets_in(tmp_path, NAME, "api_keys", upstream_token="old", api_keys=KEYS)
    (tmp_path / "API_KEYS").write_text("shop:another-key-0000")
    assert not secrets.refresh("upstream_", at_once=True)
    assert secrets.get("api_keys") == KEYS


@pytest.mark.parametrize("before", [KEYS, None], ids=["with former keys", "without"])
def test_a_value_that_cannot_be_read_is_never_in_force_and_is_logged_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, before: str | None
) -> None:
    secrets = secrets_in(tmp_path, "api_keys", api_keys=before)
    (tmp_path / "API_KEYS").write_text("planted-wrong,shop:planted-short")
    for at_once in (False, True, True):
        assert not secrets.refresh(at_once=at_once)
    assert secrets.get("api_keys") == before
    assert [record.getMessage() for record in caplog.records] == [
        "the file of API_KEYS is wrong (entry 1 is not of the form name:key; entry 2 has a key of less than 16 "
        "characters): its former value stays in force"
    ]
    (tmp_path / "API_KEYS").write_text(f"{KEYS}-new")
    assert secrets.refresh(at_once=True)
    assert secrets.get("api_keys") == f"{KEYS}-new"


@pytest.mark.parametrize("name", ROTATING)
@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_value_in_quotes_is_refused_as_the_start_refuses_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, quote: str
) -> None:
    before = {name: KEYS if name == "api_keys" else "sixteen-characters"}
    secrets = secrets_in(tmp_path, name, **before)
    (tmp_path / name.upper()).write_text(f"{quote}shop:planted-key-4be1f0{quote}\n")
    for at_once in (False, True, True):
        assert not secrets.refresh(at_once=at_once)
    assert secrets.get(name) == before[name]
    assert [record.getMessage() for record in caplog.records] == [
        f"the file of {name.upper()} is wrong (is still in quotes, which would be part of the value): its former "
        "value stays in force"
    ]
