"""Where a request comes from, and who its caller is where no key says it."""

from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network

from starlette.types import Scope

from app.lookup.caller import ADDRESS_LABEL, Caller
from app.settings.addresses import Network, read_address

IPV6_PREFIX = 64
"""Bits. A subscriber has at least a /64 (RFC 6177), and may take any address of it: so that is one caller."""
KEPT = 4096
"""Callers whose address has been read and is kept with what came of it, since reading takes long: about 1 MB."""


def client_address(scope: Scope, proxies: Sequence[Network]) -> str:
    """Where the request comes from: the connection's end, or what trusted proxies say in ``X-Forwarded-For``.

    Every proxy appends the address that it saw. So the list is read from its end as long as the one who wrote an
    entry is trusted; what a caller has written itself stands further left and is never reached. Of an entry that is no
    address nothing is believed, nor of those to its left.
    """
    found = str(scope["client"][0]) if scope.get("client") else ""
    if not proxies:
        return found
    address = read_address(found)
    forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    for entry in reversed(forwarded.split(b",")):
        if address is None or not any(address in network for network in proxies):
            break
        said = read_address(entry.decode("latin-1"))
        if said is None:
            break
        address, found = said, str(said)
    return found


def caller_at(address: str) -> Caller:
    """The caller at an address."""
    known = read_address(address)
    if isinstance(known, IPv6Address):
        return Caller(str(IPv6Network((known, IPV6_PREFIX), strict=False)), ADDRESS_LABEL)
    return Caller(address if known is None else str(known), ADDRESS_LABEL)
