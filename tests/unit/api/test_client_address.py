"""Where a request comes from, and who its caller is."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.access import caller_at, client_address
from app.lookup.caller import Caller

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope(*headers: tuple[bytes, bytes], client: str | None = "10.0.0.1") -> dict[str, Any]:
    return {"type": "http", "headers": list(headers), "client": None if client is None else (client, 1)}


def forwarded(*values: str) -> list[tuple[bytes, bytes]]:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


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
        ("10.0.0.1", ["192.0.2.7, 192.0.2.8:4711"], "192.0.2.8"),
        ("10.0.0.1", ["192.0.2.7:80, 10.2.2.2:443, [fd00::2]:8080"], "192.0.2.7"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", ['"[2001:db8::1]:443"'], "2001:db8::1"),
        ("10.0.0.1", ['"192.0.2.7"'], "192.0.2.7"),
        ("10.0.0.1", ["[::ffff:192.0.2.7]:443"], "192.0.2.7"),
        ("10.0.0.1", ["fe80::1%eth0"], "fe80::1"),
        ("10.0.0.1", ["[fe80::1%eth0]:443"], "fe80::1"),
        ("10.0.0.1", ["192.0.2.7:"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:65536"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:443:443"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7:http"], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.07"], "10.0.0.1"),
        ("10.0.0.1", ["[192.0.2.7]:443"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db8::1"], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::1]:443"], "10.0.0.1"),
        ("10.0.0.1", ['"192.0.2.7'], "10.0.0.1"),
        ("10.0.0.1", ['"'], "10.0.0.1"),
        ("10.0.0.1", ["_hidden"], "10.0.0.1"),
        ("10.0.0.1", ["\xb2\xb3.0.0.1"], "10.0.0.1"),
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


@pytest.mark.parametrize(
    ("client", "address"),
    [("::ffff:192.0.2.7", "192.0.2.7"), ("::ffff:c000:207", "::ffff:c000:207"), ("2001:db8::1", "2001:db8::1")],
)
def test_an_ipv4_caller_of_a_socket_for_both_families_has_its_ipv4_address(client: str, address: str) -> None:
    assert client_address(scope(client=client), ()) == address


ADDRESSES = st.ip_addresses().map(str)
TRUSTED = st.ip_addresses(network="10.0.0.0/8").map(str)


@given(ADDRESSES, st.lists(st.text(st.characters(codec="latin-1"), max_size=20)))
def test_without_trusted_proxies_the_header_counts_for_nothing(client: str, values: list[str]) -> None:
    alone = client_address(scope(client=client), ())
    assert client_address(scope(*forwarded(*values), client=client), ()) == alone


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


@pytest.mark.parametrize(
    ("address", "identity"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_a_caller_without_a_key_is_its_address_and_an_ipv6_one_its_network(address: str, identity: str) -> None:
    assert caller_at(address) == Caller(identity, "address")


@given(st.ip_addresses(v=6, network="2001:db8::/32"), st.integers(0, 2**64 - 1))
def test_no_other_address_of_its_network_makes_another_caller(address: Any, interface: int) -> None:
    neighbour = ip_address((int(address) >> 64 << 64) | interface)
    assert caller_at(str(address)) == caller_at(str(neighbour))
    assert caller_at(str(address)) != caller_at(str(ip_address(int(address) ^ (1 << 64))))


WRITTEN = st.sampled_from(["{}", "{}:4711", '"{}"', '"{}:4711"', " {} ", "{}:65535"])


@given(st.ip_addresses(), WRITTEN)
def test_however_a_proxy_writes_an_address_it_is_the_same_caller(address: Any, written: str) -> None:
    """Twelve callers behind a proxy that writes ports are twelve callers, each of them one whatever its port."""
    text = str(address) if address.version == 4 else f"[{address}]"
    said = client_address(scope(*forwarded(written.format(text))), PROXIES)
    assert said == str(getattr(address, "ipv4_mapped", None) or address)
