"""The account's credentials."""

import pytest

from app.upstream.credentials import Credentials


def test_the_token_travels_alone() -> None:
    assert Credentials.choose("t", "l", "p").fields == {"token": "t"}


def test_login_and_password_travel_where_there_is_no_token() -> None:
    chosen = Credentials.choose(None, "l", "p")
    assert chosen.fields == {"login": "l", "password": "p"}
    assert chosen.secrets == ("l", "p")


@pytest.mark.parametrize("given", [(None, None, None), ("", "", ""), (None, "l", None), (None, None, "p")])
def test_half_a_credential_is_none(given: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(ValueError, match="no credentials"):
        Credentials.choose(*given)


def test_the_representation_shows_no_value() -> None:
    assert "s3cret" not in repr(Credentials({"token": "s3cret"}))
