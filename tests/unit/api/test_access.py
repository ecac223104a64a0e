"""Keys, and credentials in headers."""

from hmac import compare_digest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.access import credential
from app.settings.parsed import ApiKeys

KEY, OTHER = "planted-key-4be1f0", "planted-key-77c2aa"


def scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers), "client": ("10.0.0.1", 1)}


def test_a_key_has_its_callers_name_and_any_other_text_has_none() -> None:
    keys = ApiKeys(f"shop:{KEY},crm:{OTHER}")
    assert (keys.name_of(KEY.encode()), keys.name_of(OTHER.encode())) == ("shop", "crm")
    assert keys.name_of(b"") is None
    assert keys.name_of(KEY[:-1].encode()) is None
    assert keys.name_of(f"shop:{KEY}".encode()) is None


def test_every_key_is_compared_in_constant_time_whichever_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(known: bytes, given_: bytes) -> bool:
        compared.append(known)
        return compare_digest(known, given_)

    monkeypatch.setattr("app.settings.parsed.hmac.compare_digest", compare)
    keys = ApiKeys(f"shop:{KEY},crm:{OTHER},erp:planted-key-000000")
    for given_ in (KEY, OTHER, "planted-key-000000", "wrong"):
        compared.clear()
        keys.name_of(given_.encode())
        assert len(set(compared)) == 3


def test_no_key_is_shown() -> None:
    keys = ApiKeys(f"shop:{KEY}")
    assert KEY not in f"{keys!r} {keys}"
    assert keys.names == ("shop",)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"x-api-key", b"k")], b"k"),
        ([(b"x-api-key", b" \tk ")], b"k"),
        ([(b"authorization", b"Bearer k")], b"k"),
        ([(b"authorization", b"bEARER   k")], b"k"),
        ([(b"x-api-key", b"k"), (b"x-api-key", b"k")], b"k"),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer k")], b"k"),
        ([], None),
        ([(b"x-api-key", b"k"), (b"x-api-key", b"other")], None),
        ([(b"x-api-key", b"k"), (b"x-api-key", b"")], None),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer other")], None),
        ([(b"x-api-key", b"k"), (b"authorization", b"Basic k")], None),
        ([(b"authorization", b"Bearer k"), (b"authorization", b"Bearer other")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearerk")], None),
        ([(b"authorization", b"Bearer\tk")], None),
        ([(b"authorization", b"Token k")], None),
        ([(b"authorization", b"k")], None),
        ([(b"authorization", b"")], None),
        ([(b"cookie", b"x-api-key=k")], None),
    ],
)
def test_a_request_gives_one_credential_or_none(headers: list[tuple[bytes, bytes]], found: bytes | None) -> None:
    assert credential(scope(*headers)) == found


@given(st.lists(st.tuples(st.sampled_from([b"x-api-key", b"authorization", b"accept"]), st.binary()), max_size=4))
def test_no_headers_at_random_open_a_closed_service(headers: list[tuple[bytes, bytes]]) -> None:
    given_ = credential(scope(*headers))
    assert given_ is None or ApiKeys(f"shop:{KEY}").name_of(given_) is None


@given(
    st.lists(
        st.sampled_from([b"Bearer %s" % KEY.encode(), b"Bearer %s" % OTHER.encode(), b"Basic x", b""]), min_size=1
    ),
    st.lists(st.sampled_from([KEY.encode(), OTHER.encode(), b"", b"x"])),
)
def test_a_caller_is_let_in_where_all_that_it_gives_is_its_key(bearers: list[bytes], plain: list[bytes]) -> None:
    headers = [(b"authorization", value) for value in bearers] + [(b"x-api-key", value) for value in plain]
    given_ = credential(scope(*headers))
    expected = {value.removeprefix(b"Bearer ") for value in bearers} | set(plain) == {KEY.encode()}
    assert (given_ is not None and ApiKeys(f"shop:{KEY}").name_of(given_) == "shop") == expected
