"""One metric and one log line for each request."""

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter, time
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.deferred import afterwards
from app.lookup.engine import LookupResult
from app.lookup.queue import Source
from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import own_trace_id, trace_id_of

UNMATCHED = "unmatched"
"""The route of requests that no route takes: their paths are the caller's invention, and no label or template."""

_DEAREST_FIRST = [Source.UPSTREAM, Source.JOINED, Source.REFUSED, Source.CACHE]

access = logging.getLogger(ACCESS)
log = logging.getLogger(__name__)


def note_lookup(scope: Scope, found: Mapping[int, LookupResult]) -> None:
    """For the access log: the dearest source of any answer, and what it cost the platform."""
    sources = [each.source for each in found.values()]
    dearest = next(source for source in _DEAREST_FIRST if source in sources)
    scope["state"]["source"] = dearest.value
    scope["state"]["entries"] = sources.count(Source.UPSTREAM)


class AccessLog:
    """Counts, times and logs what is inside.

    Under load the requests that end in one turn of the event loop are told together: the same few instructions one
    after the other cost a fraction of what they cost between those of everything else.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._served = 0
        self._untold: list[_Ended] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        self._served += 1
        try:
            await self._app(scope, receive, send)
        finally:
            # Read here: later the request's span is over.
            trace_id = own_trace_id()
            afterwards(scope, lambda: self._ended(_Ended(scope, perf_counter() - started, trace_id, time())))

    def _ended(self, request: "_Ended") -> None:
        self._served -= 1
        self._untold.append(request)
        if not self._served:
            self._tell_all()
        elif len(self._untold) == 1:
            asyncio.get_running_loop().call_soon(self._tell_all)

    def _tell_all(self) -> None:
        ended, self._untold = self._untold, []
        for request in ended:
            try:
                self._tell(request)
            except Exception:
                log.exception("unhandled error while logging a request")

    def _tell(self, request: "_Ended") -> None:
        scope = request.scope
        state = scope["state"]
        if "replaced" in state:
            return  # the server's own refusal is told in place of it
        route = state.get("route") or getattr(scope.get("route"), "path", UNMATCHED)
        method: str = scope["method"]
        # 0 where the caller left before there was one.
        status: int = state.get("status", 0)
        self._metrics.http_request(route, method, status, request.seconds)
        if "problem" in state:
            self._metrics.http_problem(route, state["problem"])
        if not access.isEnabledFor(logging.INFO):
            return
        client = scope.get("client")
        fields = {
            "request_id": state["request_id"],
            "caller": state.get("caller") or (client[0] if client else None),
            "route": route,
            "method": method,
            "status": status,
            "duration_ms": round(request.seconds * 1000, 2),
        }
        trace_id = request.trace_id or _callers_trace_id(scope)
        if trace_id:
            fields["trace_id"] = trace_id
        for name in ("source", "entries", "problem"):
            if name in state:
                fields[name] = state[name]
        # Made by hand: access.info would walk the stack to find out who calls, for each request.
        record = logging.LogRecord(ACCESS, logging.INFO, "", 0, "request", None, None)
        record.created = request.at
        record.fields = fields
        access.handle(record)


class _Ended(NamedTuple):
    """A request that has its answer: after how many seconds, and when (seconds since the epoch)."""

    scope: Scope
    seconds: float
    trace_id: str | None
    at: float


def _callers_trace_id(scope: Scope) -> str | None:
    traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
    return trace_id_of(traceparent) if traceparent else None
