"""One metric and one log line for each request."""

import asyncio
import logging
from time import time
from typing import Any

from starlette.types import Scope

from app.api.context import RequestState
from app.lookup.waiter import Source
from app.telemetry.logs import ACCESS, AccessLine, Shared, sole_json_handler
from app.telemetry.metrics import Metrics
from app.telemetry.tracing import trace_id_of

UNMATCHED = "unmatched"
"""The route of requests that no route takes: their paths are the caller's invention, and no label or template."""

_COSTLIEST_FIRST = [Source.UPSTREAM, Source.JOINED, Source.REFUSED, Source.CACHE]

access = logging.getLogger(ACCESS)
log = logging.getLogger(__name__)


class AccessLog:
    """Counts the requests that have ended, and writes the line of each."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._ended: list[AccessLine] = []
        # Of this iteration of the event loop, once a request has ended in it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first: asyncio.Task[Any] | None = None
        """The task that ended the first one."""

    def end(self, line: AccessLine) -> None:
        """A request has its answer.

        The first one in an iteration of the event loop is logged at once, the others together with the next one, which
        costs less CPU. A task that serves several requests, as a test's client does without a server, finds each of
        them logged once it has the answer.
        """
        self._ended.append(line)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._end_iteration)
            self._first = asyncio.current_task(self._loop)
            self._write_ended()
        elif asyncio.current_task(self._loop) is self._first:
            self._write_ended()

    def _end_iteration(self) -> None:
        self._loop = self._first = None
        if self._ended:
            self._write_ended()

    def _write_ended(self) -> None:
        ended, self._ended = self._ended, []
        texts: list[str] = []
        is_wanted = access.isEnabledFor(logging.INFO)
        sole = sole_json_handler() if is_wanted else None
        for line in ended:
            try:
                self._count(line)
                if sole is not None:
                    texts.append(sole[1].access_line(line))
                elif is_wanted:
                    hand_to_loggers(line)
            except Exception:
                log.exception("unhandled error while logging a request")
        if sole is not None and texts:
            texts.append("")
            sole[0].write("\n".join(texts))

    def _count(self, line: AccessLine) -> None:
        _at, _request_id, seconds, _trace_id, shared = line
        self._metrics.http_request(shared.route, shared.method, shared.status, seconds)
        if shared.problem is not None:
            self._metrics.http_problem(shared.route, shared.problem)


def line_of(scope: Scope, seconds: float, trace_id: str | None) -> AccessLine | None:
    """The line of a request that has ended now, after so many seconds; None where another line tells of it.

    It has the costliest source of any of the request's results, and how many of them the platform was asked for.
    ``trace_id``: that of the service's own trace, where there is one.
    """
    state: RequestState = scope["state"]
    if "replaced" in state:
        return None  # the server's own refusal is told in place of it
    source = entries = None
    if results := state.get("results"):
        sources = [result.source for result in results.values()]
        source = sources[0] if len(sources) == 1 else min(sources, key=_COSTLIEST_FIRST.index)
        entries = sources.count(Source.UPSTREAM)
    client = scope.get("client")
    shared = Shared(
        state.get("logged_caller") or (client[0] if client else None),
        state.get("route") or getattr(scope.get("route"), "path", None) or UNMATCHED,
        scope["method"],
        # 0 where the caller left before there was one.
        state.get("status", 0),
        source,
        entries,
        state.get("problem"),
    )
    return time(), state["request_id"], seconds, trace_id or given_trace_id(scope), shared


def given_trace_id(scope: Scope) -> str | None:
    """The id of the trace that the caller says a request belongs to."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            return trace_id_of(value)
    return None


def hand_to_loggers(line: AccessLine) -> None:
    """Make a line the logging package's way, for whatever listens. ``access.info`` would look for the calling line."""
    record = logging.LogRecord(ACCESS, logging.INFO, "", 0, "request", None, None)
    record.created, request_id, seconds, trace_id, shared = line
    fields = {
        "request_id": request_id,
        "caller": shared.caller,
        "route": shared.route,
        "method": shared.method,
        "status": shared.status,
        "duration_ms": round(seconds * 1000, 2),
        "trace_id": trace_id,
        "source": shared.source,
        "entries": shared.entries,
        "problem": shared.problem,
    }
    # What was not found out about a request is left out; a caller and an id there always are.
    record.fields = {name: value for name, value in fields.items() if value is not None or name == "caller"}
    access.handle(record)
