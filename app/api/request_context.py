"""What is around every request: its id, the headers of every response, its line in the log, the answer to a crash.

``RequestContext`` stands outside of all middleware but ``RootPath`` and ``StateShortcut``, which gives the same to the
states that it answers, by ``EveryRequest``. So every answer has all of it: those of the middleware inside, the server's
own refusals, the answer where something crashes; and a page of another origin may read it where it is allowed to.
"""

import logging
import random
import re
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access_log import AccessLog, line_of
from app.api.context import RequestState
from app.api.cors import Cors, Headers
from app.api.health import Lifecycle
from app.api.problems import problem
from app.api.request_body import limited
from app.telemetry.logs import request_id_of_log
from app.telemetry.redaction import NotSecret
from app.telemetry.tracing import hide_request, own_trace_id

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""For every response, pages or not: nothing here is to be guessed at, told elsewhere, or shown inside another page."""

ASGI_KEYS = (
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers"),
    *("client", "server", "state", "extensions"),
)
KEPT_KEYS = frozenset((*ASGI_KEYS, "route"))
"""What is left of a request's scope when its response is deferred: ASGI's own, and the route for metric and log."""
_TRACING = "fastapi.telemetry"
"""FastAPI's own key, there while it traces."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


def new_request_id() -> NotSecret:
    """64 random bits: enough to find one request among a day's."""
    return NotSecret(random.randbytes(8).hex())


class Refusal(NamedTuple):
    """Why the server refuses a request that it could not read: a problem of the catalogue, and what happened.

    The server leaves it in ``scope["state"]["refusal"]``, so that the answer has all that every answer has.
    """

    slug: str
    detail: str


class DeferredResponse(Response):
    """The response of a route that waits: ``respond`` is called when all calls that led to the route have returned.

    A request that waits keeps in memory every call around it: the framework's and the middleware's take about 17 KB,
    half of all that a waiter costs; what they left in the scope takes 3 KB more. So only ``RequestContext`` is left
    around ``respond``, and of the scope what ``KEPT_KEYS`` and the traces have; what other middleware does to ``send``
    does not happen to this response.
    """

    def __init__(self, respond: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        super().__init__()
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave the response to ``RequestContext``."""
        scope["state"]["deferred"] = self._respond


class EveryRequest:
    """What every request has: an id, headers that belong to each answer, and a line in the log.

    ``cors`` is None where no page of another origin may call.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        access_log: AccessLog,
        cors: Cors | None = None,
        make_id: Callable[[], str] = new_request_id,
    ) -> None:
        self._lifecycle = lifecycle
        self.make_id = make_id
        self.access_log = access_log
        self.cors = cors

    def request_id(self, scope: Scope) -> str:
        """The caller's id for the request where it can be used, else one of our own."""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                if _REQUEST_ID.fullmatch(value):
                    return str(value.decode())
                break
        return self.make_id()

    def end(self, scope: Scope, seconds: float, trace_id: str | None) -> None:
        """A request has its answer, after so many seconds."""
        line = line_of(scope, seconds, trace_id)
        if line is not None:
            self.access_log.end(line)

    def headers(self, scope: Scope, own: Headers, *, preflight: bool = False) -> Headers:
        """The headers of a response that has these of its own. A preflight's say by themselves what is permitted."""
        request_id: str = scope["state"]["request_id"]
        headers = [*own, (b"x-request-id", request_id.encode()), *SECURITY_HEADERS]
        if self.cors is not None and not preflight:
            headers += self.cors.permission(scope, headers)
        if self._lifecycle.stopping:
            # Another replica takes the next request of this connection.
            headers.append((b"connection", b"close"))
        return headers


class RequestContext:
    """The outermost of the middleware: gives each request what ``EveryRequest`` says, and lets the application answer.

    HEAD is handed on as GET, of which the server sends the head alone (RFC 9110, section 9.3.2).
    """

    def __init__(self, app: ASGIApp, every: EveryRequest) -> None:
        self._app = app
        self._every = every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        every = self._every
        preflight = False
        state: RequestState = scope.setdefault("state", {})
        request_id = state["request_id"] = every.request_id(scope)

        async def send_in_context(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                own = message.get("headers", ())
                message = {**message, "headers": every.headers(scope, own, preflight=preflight)}
            await send(message)

        is_traced = _TRACING in scope
        if is_traced:
            hide_request(scope)
        token = request_id_of_log.set(request_id)
        inside = scope
        try:
            if "refusal" in state:
                refusal = state["refusal"]
                await problem(scope, refusal.slug, detail=refusal.detail)(scope, receive, send_in_context)
            elif every.cors is not None and every.cors.is_preflight(scope):
                preflight = True
                await every.cors.preflight(scope)(scope, receive, send_in_context)
            else:
                method = scope.get("method")
                if method == "HEAD":
                    state["head"] = True
                    inside = {**scope, "method": "GET"}
                elif method != "GET":
                    receive = limited(scope, receive)
                await self._app(inside, receive, send_in_context)
                if "deferred" in state:
                    _shrink_scope(scope)
                    await state.pop("deferred")(scope, receive, send_in_context)
        except Exception:
            log.exception("unhandled error while handling a request")
            if "status" in state:
                raise  # too late for another answer: the server ends the connection
            await problem(scope, "internal-error")(scope, receive, send_in_context)
        finally:
            request_id_of_log.reset(token)
            if inside is not scope:
                # Metric and log name the route that was found.
                scope["route"] = inside.get("route")
            # The trace is asked for here: later the request's span is over.
            trace_id = own_trace_id() if is_traced else None
            every.end(scope, perf_counter() - started, trace_id)


def _shrink_scope(scope: Scope) -> None:
    """Take out of a request what the calls that led to its route left there, their exit stacks above all: 3 KB."""
    for key in scope.keys() - KEPT_KEYS:
        if not key.startswith(_TRACING):
            del scope[key]
