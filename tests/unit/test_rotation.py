"""Secrets that come and go: what counts as a change, and which variables leave the word to files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings.loading import load_settings
from tests.support.service import secrets_in

OLD, NEW = "planted-old-91c4", "planted-new-5e0b"
NAME = "UPSTREAM_TOKEN"


def test_a_file_that_goes_back_and_forth_counts_only_once_it_has_stayed_the_same(tmp_path: Path) -> None:
    file = tmp_path / NAME
    secrets = secrets_in(tmp_path, NAME.lower(), upstream_token=OLD)
    for content in (NEW, OLD, NEW, OLD, NEW):
        file.write_text(content)
        assert not secrets.refresh()
        assert secrets.get(NAME.lower()) == OLD
    assert secrets.refresh()
    assert secrets.get(NAME.lower()) == NEW


def test_secrets_that_take_turns_are_each_in_force_and_told_every_time(tmp_path: Path) -> None:
    file = tmp_path / NAME
    secrets = secrets_in(tmp_path, NAME.lower(), upstream_token=OLD)
    told: list[str | None] = []
    for content in (NEW, OLD, NEW, OLD):
        file.write_text(content)
        for _ in range(3):
            told += [secrets.get(name) for name in secrets.refresh()]
    assert told == [NEW, OLD, NEW, OLD]
    assert set(secrets.seen()) == {OLD, NEW}


def test_a_file_that_is_gone_between_two_looks_has_not_stayed_the_same(tmp_path: Path) -> None:
    file = tmp_path / NAME
    secrets = secrets_in(tmp_path, NAME.lower(), upstream_token=OLD)
    file.write_text(NEW)
    assert not secrets.refresh()
    file.unlink()
    assert not secrets.refresh()
    file.write_text(NEW)
    assert not secrets.refresh()
    assert secrets.refresh()


@pytest.fixture
def rotated(empty_folder: Path) -> Callable[[], str | None]:
    """Load the settings beside a file with the old secret, swap it, and tell what is in force."""

    def rotate() -> str | None:
        file = empty_folder / "secrets" / NAME
        file.write_text(OLD)
        _, secrets, _ = load_settings()
        assert secrets.get(NAME.lower())
        file.write_text(NEW)
        secrets.refresh(at_once=True)
        return secrets.get(NAME.lower())

    return rotate


@pytest.mark.parametrize("blank", ["", " ", "\t", "\n"])
def test_a_blank_variable_beside_a_secret_file_does_not_keep_it_from_being_read_anew(
    rotated: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.setenv(NAME, blank)
    assert rotated() == NEW


@pytest.mark.parametrize("line", [f"{NAME}=", f'{NAME}=" "', ""])
def test_neither_does_a_blank_line_of_the_dotenv_file(
    rotated: Callable[[], str | None], empty_folder: Path, line: str
) -> None:
    (empty_folder / ".env").write_text(f"{line}\n")
    assert rotated() == NEW


@pytest.mark.parametrize("name", [NAME, NAME.lower()])
def test_a_variable_with_a_value_does_and_so_does_a_line_of_the_dotenv_file(
    rotated: Callable[[], str | None], monkeypatch: pytest.MonkeyPatch, empty_folder: Path, name: str
) -> None:
    (empty_folder / ".env").write_text(f"{name}=of-the-file\n")
    assert rotated() == "of-the-file"
    monkeypatch.setenv(name, "of-the-environment")
    assert rotated() == "of-the-environment"


def test_a_secret_in_force_is_never_let_go_however_often_others_change(tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, "webhook_token", upstream_token=OLD, webhook_token="first-webhook-token")
    for number in range(60):
        (tmp_path / "webhook_token").write_text(f"another-webhook-token-{number}")
        assert secrets.refresh(at_once=True)
    assert OLD in secrets.seen()
    assert {"another-webhook-token-58", "another-webhook-token-59"} <= set(secrets.seen())
    assert len(secrets.seen()) < 56, "former ones are let go some day"
