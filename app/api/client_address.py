"""Where a request comes from, and who its caller is where no key says it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from app.lookup.caller import ADDRESS_LABEL, Caller
from app.settings.parsed import Network

IPV6_PREFIX = 64
"""Bits. A subscriber has at least a /64 (RFC 6177), and may take any address of it: so that is one caller."""
KEPT = 4096
"""Callers whose address has been read and is kept with what came of it, since reading takes long: about 1 MB."""

Address = IPv4Address | IPv6Address


def client_address(scope: Scope, proxies: Sequence[Network]) -> str:
    """Where the request comes from: the connection's end, or what trusted proxies say in ``X-Forwarded-For``.

    Every proxy appends the address that it saw. So the list is read from its end as long as the one who wrote an
    entry is trusted; what a caller has written itself stands further left and is never reached.
    """
    end = scope["client"][0] if scope.get("client") else ""
    if not proxies:
        return str(end)
    address = _address(end)
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    for entry in reversed(forwarded.split(b",")):
        if address is None or not any(address in network for network in proxies):
            break
        said = _address(entry.decode("latin-1").strip())
        if said is None:
            break
        address = said
    return str(end if address is None else address)


def caller_at(address: str) -> Caller:
    """The caller at an address."""
    known = _address(address)
    if isinstance(known, IPv6Address):
        return Caller(str(IPv6Network((known, IPV6_PREFIX), strict=False)), ADDRESS_LABEL)
    return Caller(address if known is None else str(known), ADDRESS_LABEL)


def _address(text: str) -> Address | None:
    """An address; None for anything else, also for an IPv6 zone: it could be any text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    # What a socket for both families calls an IPv4 address.
    return getattr(address, "ipv4_mapped", None) or address
