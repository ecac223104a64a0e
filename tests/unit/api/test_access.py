"""Keys, credentials in headers, and where a request comes from."""

from hmac import compare_digest
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.access import client_address, credential
from app.settings.parsed import ApiKeys

KEY, OTHER = "planted-key-4be1f0", "planted-key-77c2aa"
PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope(*headers: tuple[bytes, bytes], client: str | None = "10.0.0.1") -> dict[str, Any]:
    return {"type": "http", "headers": list(headers), "client": None if client is None else (client, 1)}


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


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


@pytest.mark.parametrize(
    ("client", "values", "address"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.1, 192.0.2.7, 10.9.9.9,fd00::2"], "192.0.2.7"),
        ("10.0.0.1", ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ("10.0.0.1", ["192.0.2.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, "], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, 192.0.2.8:4711"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.0.0.1", ["2001:DB8::0007"], "2001:db8::7"),
        ("10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["fe80::1%\x1b[31m"], "10.0.0.1"),
        ("192.0.2.1", ["198.51.100.1"], "192.0.2.1"),
        ("192.0.2.1", ["10.0.0.1"], "192.0.2.1"),
        ("fe80::1%eth0", ["192.0.2.7"], "fe80::1%eth0"),
        (None, ["192.0.2.7"], ""),
    ],
)
def test_a_callers_address_is_the_last_one_that_a_trusted_proxy_has_seen(
    client: str | None, values: list[str], address: str
) -> None:
    assert client_address(scope(*forwarded(*values), client=client), PROXIES) == address


ADDRESSES = st.ip_addresses().map(str)
TRUSTED = st.ip_addresses(network="10.0.0.0/8").map(str)


@given(ADDRESSES, st.lists(st.text(st.characters(codec="latin-1"), max_size=20)))
def test_without_trusted_proxies_the_header_counts_for_nothing(client: str, values: list[str]) -> None:
    assert client_address(scope(*forwarded(*values), client=client), ()) == client


@given(
    st.lists(ADDRESSES | st.text(st.characters(codec="latin-1", exclude_characters=","), max_size=20), max_size=4),
    ADDRESSES.filter(lambda text: not any(ip_address(text) in network for network in PROXIES)),
    st.lists(TRUSTED, min_size=1, max_size=4),
    st.data(),
)
def test_what_a_caller_writes_into_the_header_itself_never_decides(
    forged: list[str], caller: str, proxies: list[str], data: st.DataObject
) -> None:
    """The caller sends a header of its own; the first proxy appends the caller, each other one its predecessor."""
    *appended, last = [caller, *proxies]
    entries = [*forged, *appended]
    cut = data.draw(st.integers(0, len(entries)))  # the list may be spread over several header lines
    values = [", ".join(part) for part in (entries[:cut], entries[cut:]) if part]
    mapped = getattr(ip_address(caller), "ipv4_mapped", None)
    assert client_address(scope(*forwarded(*values), client=last), PROXIES) == str(mapped or ip_address(caller))


@given(st.lists(st.text(st.characters(codec="latin-1"), max_size=30), max_size=3))
def test_any_header_gives_an_address_and_never_text_of_the_callers(values: list[str]) -> None:
    ip_address(client_address(scope(*forwarded(*values)), PROXIES))
