"""Responses that take their time, given after all calls that led to them have returned.

A request that waits keeps in memory every call around it: the framework's and our middleware take about 17 KB, half of
all that a waiter costs. So a route returns a ``DeferredResponse``, the calls return, and ``DeferredResponses``, the
outermost middleware, gives the response through the ``send`` that the route had.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem
from app.telemetry.logs import request_id_of_log

Respond = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class _Deferred:
    """What is left to do: the response, where one is deferred, and what the middleware does after it."""

    __slots__ = ("afterwards", "respond", "send")

    def __init__(self) -> None:
        self.respond: Respond | None = None
        self.send: Send | None = None
        self.afterwards: list[Callable[[], None]] = []


class DeferredResponse(Response):
    """The response of a route that takes its time: ``respond`` is called later."""

    def __init__(self, respond: Respond) -> None:
        super().__init__()
        self._respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave the response to the outermost middleware."""
        deferred = _deferred(scope)
        deferred.respond, deferred.send = self._respond, send


def respond_through(scope: Scope, send: Send) -> None:
    """Give a deferred response through this ``send``: it is lighter than the route's."""
    deferred = _deferred(scope)
    if deferred.respond is not None:
        deferred.send = send


def afterwards(scope: Scope, work: Callable[[], None]) -> None:
    """Do something when the response has been given: now, or later where it is deferred."""
    deferred = _deferred(scope)
    if deferred.respond is not None:
        deferred.afterwards.append(work)
    else:
        work()


class DeferredResponses:
    """Gives the responses that the application inside has deferred."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deferred = scope.setdefault("state", {})["deferred"] = _Deferred()
        await self._app(scope, receive, send)
        if deferred.respond is None or deferred.send is None:
            return
        request_id_of_log.set(scope["state"]["request_id"])
        try:
            await deferred.respond(scope, receive, deferred.send)
        except Exception:
            log.exception("unhandled error while handling a request")
            # Too late where the response has begun: then the server ends the connection.
            with contextlib.suppress(RuntimeError):
                await problem(scope, "internal-error")(scope, receive, deferred.send)
        finally:
            for work in deferred.afterwards:
                work()


def _deferred(scope: Scope) -> _Deferred:
    deferred: _Deferred = scope["state"]["deferred"]
    return deferred
