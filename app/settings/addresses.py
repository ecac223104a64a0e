"""Addresses as proxies and people write them: with a port, in brackets, in quotes, with a zone."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
"""What a socket for both families calls IPv4."""
# An IPv6 address with a port stands in brackets (RFC 3986, section 3.2.2), in RFC 7239 in quotes besides.
_WRITTEN = re.compile(
    r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[0-9A-Fa-f:.]+)(?:%[A-Za-z0-9._~-]+)?\])(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<bare>[0-9A-Fa-f:.]+)(?:%[A-Za-z0-9._~-]+)?"
)


def read_address(text: str) -> Address | None:
    """The address in ``192.0.2.7:5678``, ``[2001:db8::1]:443``, ``"[2001:db8::1]"`` or ``fe80::1%eth0``; None for
    anything else. An IPv4 address that is written as an IPv6 one is the IPv4 one."""
    text = text.strip(" \t")
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    written = _WRITTEN.fullmatch(text)
    if written is None or int(written["port"] or 0) > 65535:
        return None
    try:
        address = ip_address(written["v4"] or written["v6"] or written["bare"])
    except ValueError:
        return None
    if written["v6"] and isinstance(address, IPv4Address):
        return None
    return getattr(address, "ipv4_mapped", None) or address


def read_network(text: str) -> Network:
    """The network in ``10.0.0.0/8`` or, of one address, in whatever ``read_address`` reads. Raises ValueError."""
    address = read_address(text)
    network = ip_network(text if address is None else address)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network
