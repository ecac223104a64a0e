"""Who calls, and who may: API keys for everything under ``/messages``, and the caller's name or address. Plain ASGI.

``scope["state"]["caller"]`` is what the quota, the log and the metrics know of a caller: the name of its key, or its
address where no key was asked for or none was right. The key itself goes no further than this module.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem
from app.settings.parsed import Network
from app.settings.rotation import Secrets

CHALLENGE = 'Bearer realm="message-state-proxy"'

_BEARER = re.compile(rb"bearer +([^ ].*)", re.IGNORECASE)


def needs_key(path: str) -> bool:
    """Whether a service with keys asks for one here: also where there is no route, so that nothing is told."""
    return path.startswith("/messages")


class Access:
    """Answers 401 where a key is needed and the right one is not there; names the caller otherwise.

    ``secrets`` has the callers' keys in force.
    """

    def __init__(self, app: ASGIApp, secrets: Secrets, proxies: Sequence[Network] = ()) -> None:
        self._app = app
        self._secrets = secrets
        self._proxies = tuple(proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        keys = self._secrets.api_keys
        if keys is not None and needs_key(scope["path"]):
            given = credential(scope)
            name = None if given is None else keys.name_of(given)
            if name is None:
                state["caller"] = client_address(scope, self._proxies)
                await problem(scope, "unauthenticated", headers={"WWW-Authenticate": CHALLENGE})(scope, receive, send)
                return
            state["caller"] = name
        else:
            state["caller"] = client_address(scope, self._proxies)
        await self._app(scope, receive, send)


def credential(scope: Scope) -> bytes | None:
    """The key that the request gives; None where it gives none, or headers that do not all say the same.

    Doubled headers with one value are a proxy's doing. Two values are a mistake, or an attempt to be one caller to
    a proxy and another one to us.
    """
    given: set[bytes | None] = set()
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            given.add(value.strip(b" \t"))
        elif name == b"authorization":
            bearer = _BEARER.fullmatch(value.strip(b" \t"))
            given.add(bearer[1] if bearer else None)
    return given.pop() if len(given) == 1 else None


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


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address; None for anything else, also for an IPv6 zone: it could be any text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if "%" in text:
        return None
    # What a socket for both families calls an IPv4 address.
    return getattr(address, "ipv4_mapped", None) or address
