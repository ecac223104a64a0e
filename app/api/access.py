"""Who calls, and how much it may: API keys for everything under ``/messages``, the caller's name or address, its quota.

The key itself goes no further than this module.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from ipaddress import IPv6Address, IPv6Network

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.context import RequestState, caller_of, is_head, path_of
from app.api.problems import problem
from app.lookup.caller import ADDRESS_LABEL, Caller
from app.lookup.clock import Clock
from app.settings.addresses import Network, read_address
from app.settings.parsed import KeyHolder
from app.settings.rotation import Secrets

CHALLENGE = 'Bearer realm="message-state-proxy"'
CLOSED = "/messages"
"""Below it a service with keys asks for one everywhere, also where there is no route, so that nothing is told."""
IPV6_PREFIX = 64
"""Bits. A subscriber has at least a /64 (RFC 6177), and may take any address of it: so that is one caller."""
MAPPED = "::ffff:"
"""Before an IPv4 address where one socket listens for both families, as with ``HOST=::``."""
MAX_KNOWN_CALLERS = 4096
"""Callers whose address has been read and is kept with what came of it, since reading takes long: about 1 MB."""
BURST_SECONDS = 2.0
"""A full bucket holds what this much time brings: twice the rate."""
MAX_CALLERS = 10_000
"""Buckets kept: about 2 MB. Above this number the least recently used one is dropped."""
ROUNDING_SECONDS = 1e-6
"""Floating point must not refuse somebody who waited exactly as long as Retry-After said."""

_PARAMETER = re.compile(r"\\{.*?\\}")
_BEARER = re.compile(rb"bearer +([^ ].*)", re.IGNORECASE)


class Callers:
    """Who calls. ``secrets`` has the callers' keys in force, ``proxies`` are those whose ``X-Forwarded-For`` counts.

    ``routes``: the paths of all routes, asked for with the first request.
    """

    def __init__(
        self,
        secrets: Secrets,
        proxies: Sequence[Network] = (),
        routes: Callable[[], Iterable[str]] = lambda: (CLOSED,),
    ) -> None:
        self._secrets = secrets
        self._proxies = tuple(proxies)
        self._routes = routes
        # Made once for each: making one takes longer than all else that is done here.
        self._caller_at = lru_cache(MAX_KNOWN_CALLERS)(caller_at)
        self._caller_with = lru_cache(MAX_KNOWN_CALLERS)(_caller_with)

    def identify(self, scope: Scope) -> bool:
        """Note in ``scope["state"]`` who calls. Returns whether it may: it has the key that it needs."""
        if self._closed.match(path_of(scope)):
            return self.identify_by_key(scope)
        self._identify_by_address(scope)
        return True

    def identify_by_key(self, scope: Scope) -> bool:
        """``identify`` for a path below ``CLOSED``."""
        keys = self._secrets.api_keys
        if keys is None:
            self._identify_by_address(scope)
            return True
        state: RequestState = scope.setdefault("state", {})
        given = credential(scope)
        holder = None if given is None else keys.holder_of(given)
        if holder is None:
            state["logged_caller"] = client_address(scope, self._proxies)
            return False
        state["logged_caller"], state["caller"] = holder.name, self._caller_with(holder)
        return True

    def _identify_by_address(self, scope: Scope) -> None:
        state: RequestState = scope.setdefault("state", {})
        address = state["logged_caller"] = client_address(scope, self._proxies)
        state["caller"] = self._caller_at(address)

    @cached_property
    def _closed(self) -> re.Pattern[str]:
        """The beginnings of paths that need a key: ``CLOSED`` below each prefix under which its routes are included."""
        before = {path.partition(CLOSED)[0] for path in self._routes() if CLOSED in path}
        # A parameter in a prefix may be anything, a line end included.
        patterns = [_PARAMETER.sub(".+", re.escape(each)) + CLOSED for each in sorted(before)]
        return re.compile("|".join(patterns), re.DOTALL)


class Access:
    """Answers 401 to those who may not call, and lets the others through."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        if scope["type"] != "http" or self._callers.identify(scope):
            return self._app(scope, receive, send)
        return unauthenticated(scope)(scope, receive, send)


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


# --- where a caller is ---


def client_address(scope: Scope, proxies: Sequence[Network]) -> str:
    """Where the request comes from: the connection's end, or what trusted proxies say in ``X-Forwarded-For``.

    Every proxy appends the address that it saw. So the list is read from its end as long as the one who wrote an
    entry is trusted; what a caller has written itself stands further left and is never reached. Of an entry that is no
    address nothing is believed, nor of those to its left.
    """
    found = str(scope["client"][0]) if scope.get("client") else ""
    if found.startswith(MAPPED) and "." in found:
        found = found.removeprefix(MAPPED)
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


# --- how much it may ask ---


class Quotas:
    """Token buckets. A bucket is the time at which it will be full; one that is full need not be kept.

    ``refused`` counts requests by the caller's label.
    """

    def __init__(self, clock: Clock, rate: float, max_callers: int = MAX_CALLERS) -> None:
        self._clock = clock
        self._rate = rate
        self._max_callers = max_callers
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.refused: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, caller: str, ids: int) -> float:
        """Take ids from a caller's bucket. Returns 0, or the seconds until they could be had: then nothing is taken.

        The bucket must hold all ids, or be full where they are more than it can hold; it may end below zero.
        """
        now = self._clock()
        wait = self._wait(caller, ids, now)
        missing = max(self._full_at.pop(caller, now) - now, 0.0)
        self._full_at[caller] = now + missing + (0.0 if wait else ids / self._rate)
        self._forget(now)
        return wait

    def has(self, caller: str, ids: int) -> bool:
        """Whether ``take`` would take them now."""
        return not self._wait(caller, ids, self._clock())

    def _wait(self, caller: str, ids: int, now: float) -> float:
        missing = max(self._full_at.get(caller, now) - now, 0.0)
        wait = missing - max(BURST_SECONDS - ids / self._rate, 0.0)
        return wait if wait > ROUNDING_SECONDS else 0.0

    def charge(self, caller: Caller, ids: int) -> float:
        """``take`` for a caller, and count where it is refused."""
        wait = self.take(caller.identity, ids)
        if wait:
            self.refused[caller.label] += 1
        return wait

    def _forget(self, now: float) -> None:
        """Drop buckets, the least recently used first: full ones, a few each time, and those beyond the limit."""
        for _ in range(2):
            oldest = next(iter(self._full_at))
            if self._full_at[oldest] > now and len(self._full_at) <= self._max_callers:
                return
            del self._full_at[oldest]
            if not self._full_at:
                return


def over_quota(request: Request, quotas: Quotas, ids: int) -> Response | None:
    """Charge the caller for ids. Returns the problem to answer with where it is over its quota, else None.

    HEAD is free of charge.
    """
    if is_head(request.scope):
        return None
    wait = quotas.charge(caller_of(request.scope), ids)
    return problem(request.scope, "rate-limited", retry_after=wait) if wait else None
