"""One metric and one log line for each request."""

import logging
from typing import NamedTuple

from starlette.types import Scope

from app.lookup.waiter import Source
from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import trace_id_of

UNMATCHED = "unmatched"
"""The route of requests that no route takes: their paths are the caller's invention, and no label or template."""

_DEAREST_FIRST = [Source.UPSTREAM, Source.JOINED, Source.REFUSED, Source.CACHE]

access = logging.getLogger(ACCESS)


class Ended(NamedTuple):
    """A request that has its answer: after how many seconds, and when (seconds since the epoch)."""

    scope: Scope
    seconds: float
    trace_id: str | None
    at: float


class AccessLog:
    """Counts the requests that have ended, and writes the line of each.

    In ``scope["state"]`` a route leaves ``results``, the results of its lookup: the line has the dearest source of any
    of them, and how many asked the platform.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def write(self, request: Ended) -> None:
        """Count a request, and write its line."""
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
            "caller": state.get("logged_caller") or (client[0] if client else None),
            "route": route,
            "method": method,
            "status": status,
            "duration_ms": round(request.seconds * 1000, 2),
        }
        trace_id = request.trace_id
        if trace_id is None:
            for name, value in scope["headers"]:
                if name == b"traceparent":
                    trace_id = trace_id_of(value)
                    break
        if trace_id:
            fields["trace_id"] = trace_id
        if "results" in state:
            sources = [each.source for each in state["results"].values()]
            for source in _DEAREST_FIRST:
                if source in sources:
                    fields["source"] = source.value
                    break
            fields["entries"] = sources.count(Source.UPSTREAM)
        if "problem" in state:
            fields["problem"] = state["problem"]
        # Made by hand: access.info would walk the stack to find out who calls, for each request.
        record = logging.LogRecord(ACCESS, logging.INFO, "", 0, "request", None, None)
        record.created = request.at
        record.fields = fields
        access.handle(record)
