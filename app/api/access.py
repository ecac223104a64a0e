"""Who calls, and who may: API keys for everything under ``/messages``, and the caller's name or address. Plain ASGI.

``scope["state"]["caller"]`` is what turns, shares, quotas and metrics know of a caller; ``…["logged_caller"]`` is what
the log names: the name of its key, or its address where no key was asked for or none was right. The key itself goes no
further than this module.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.client_address import KEPT, caller_at, client_address
from app.api.problems import problem
from app.lookup.caller import Caller
from app.settings.addresses import Network
from app.settings.parsed import KeyHolder
from app.settings.rotation import Secrets

CHALLENGE = 'Bearer realm="message-state-proxy"'

_BEARER = re.compile(rb"bearer +([^ ].*)", re.IGNORECASE)


def needs_key(path: str) -> bool:
    """Whether a service with keys asks for one here: also where there is no route, so that nothing is told."""
    return path.startswith("/messages")


class Callers:
    """Who calls. ``secrets`` has the callers' keys in force, ``proxies`` are those whose ``X-Forwarded-For`` counts."""

    def __init__(self, secrets: Secrets, proxies: Sequence[Network] = ()) -> None:
        self._secrets = secrets
        self._proxies = tuple(proxies)
        # Made once for each: making one takes longer than all else that is done here.
        self._caller_at = lru_cache(KEPT)(caller_at)
        self._caller_with = lru_cache(KEPT)(_caller_with)

    def identify(self, scope: Scope) -> bool:
        """Note in ``scope["state"]`` who calls. Returns whether it may: it has the key that it needs."""
        state = scope.setdefault("state", {})
        keys = self._secrets.api_keys
        if keys is None or not needs_key(scope["path"]):
            address = state["logged_caller"] = client_address(scope, self._proxies)
            state["caller"] = self._caller_at(address)
            return True
        given = credential(scope)
        holder = None if given is None else keys.holder_of(given)
        if holder is None:
            state["logged_caller"] = client_address(scope, self._proxies)
            return False
        state["logged_caller"], state["caller"] = holder.name, self._caller_with(holder)
        return True


class Access:
    """Answers 401 to those who may not call, and lets the others through."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or self._callers.identify(scope):
            await self._app(scope, receive, send)
        else:
            await unauthenticated(scope)(scope, receive, send)


def unauthenticated(scope: Scope) -> Response:
    """The answer to a request without a key that is in force."""
    return problem(scope, "unauthenticated", headers={"WWW-Authenticate": CHALLENGE})


def _caller_with(holder: KeyHolder) -> Caller:
    return Caller(holder.name, holder.name, holder.digest)


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
