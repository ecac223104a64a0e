"""One metric and one log line for each request."""

import asyncio
import logging
from typing import Any, NamedTuple

from starlette.types import Scope

from app.api.context import RequestState
from app.lookup.waiter import Source
from app.telemetry.logs import ACCESS, AccessLine, sole_json_handler
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import trace_id_of

UNMATCHED = "unmatched"
"""The route of requests that no route takes: their paths are the caller's invention, and no label or template."""

_COSTLIEST_FIRST = [Source.UPSTREAM, Source.JOINED, Source.REFUSED, Source.CACHE]

access = logging.getLogger(ACCESS)
log = logging.getLogger(__name__)


class Ended(NamedTuple):
    """A request that has its answer: after how many seconds, and when (seconds since the epoch)."""

    scope: Scope
    seconds: float
    trace_id: str | None
    at: float


class AccessLog:
    """Counts the requests that have ended, and writes the line of each.

    The line has the costliest source of any of the request's results, and how many of them the platform was asked for.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._ended: list[Ended] = []
        self._first: asyncio.Task[Any] | None = None
        """The task that ended the first request of this iteration of the event loop."""

    def end(self, request: Ended) -> None:
        """A request has its answer.

        The first one in an iteration of the event loop is logged at once, the others together with the next one, which
        costs less CPU. A task that serves several requests, as a test's client does without a server, finds each of
        them logged once it has the answer.
        """
        self._ended.append(request)
        task = asyncio.current_task()
        if self._first is None:
            self._first = task
            asyncio.get_running_loop().call_soon(self._end_iteration)
        if task is self._first:
            self._write_ended()

    def _end_iteration(self) -> None:
        self._first = None
        if self._ended:
            self._write_ended()

    def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        lines: list[str] = []
        is_wanted = access.isEnabledFor(logging.INFO)
        sole = None
        for request in ended:
            try:
                line = self._count(request)
                if line is None or not is_wanted:
                    continue
                sole = sole or sole_json_handler()
                if sole is None:
                    hand_to_loggers(line)
                else:
                    lines.append(sole[1].access_line(line))
            except Exception:
                log.exception("unhandled error while logging a request")
        if sole is not None and lines:
            lines.append("")
            sole[0].write("\n".join(lines))

    def _count(self, request: Ended) -> AccessLine | None:
        """Count a request. Returns what its line says; None where another one tells of it."""
        scope = request.scope
        state: RequestState = scope["state"]
        if "replaced" in state:
            return None  # the server's own refusal is told in place of it
        route: str = state.get("route") or getattr(scope.get("route"), "path", None) or UNMATCHED
        method: str = scope["method"]
        # 0 where the caller left before there was one.
        status = state.get("status", 0)
        self._metrics.http_request(route, method, status, request.seconds)
        slug = state.get("problem")
        if slug is not None:
            self._metrics.http_problem(route, slug)
        client = scope.get("client")
        trace_id = request.trace_id
        if trace_id is None:
            for name, value in scope["headers"]:
                if name == b"traceparent":
                    trace_id = trace_id_of(value)
                    break
        source = entries = None
        if "results" in state:
            sources = [result.source for result in state["results"].values()]
            source = sources[0] if len(sources) == 1 else min(sources, key=_COSTLIEST_FIRST.index)
            entries = sources.count(Source.UPSTREAM)
        return AccessLine(
            request.at,
            state["request_id"],
            state.get("logged_caller") or (client[0] if client else None),
            route,
            method,
            status,
            round(request.seconds * 1000, 2),
            trace_id,
            source,
            entries,
            slug,
        )


def hand_to_loggers(line: AccessLine) -> None:
    """Make a line the logging package's way, for whatever listens. ``access.info`` would look for the calling line."""
    record = logging.LogRecord(ACCESS, logging.INFO, "", 0, "request", None, None)
    record.created = line.at
    # What was not found out about a request is left out; a caller and an id there always are.
    record.fields = {
        name: value
        for name, value in zip(AccessLine._fields[1:], line[1:], strict=True)
        if value is not None or name in {"request_id", "caller"}
    }
    access.handle(record)
