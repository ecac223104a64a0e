"""Answers that take their time, given after all calls that led to them have returned.

A request that waits keeps in memory every call around it: the framework's and our middleware take about 17 KB, half of
all that a waiter costs. So where ``Unwinding`` stands around the application, a route's response only leaves a note;
the calls return; and the answer is given through the ``send`` that the route had. Without ``Unwinding``, as in
tests of the application alone, the answer is given on the spot.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem
from app.telemetry.logs import request_id_of_log

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)


class _Note:
    """What is left to do: the answer, once there is one, and what the middleware does after it."""

    __slots__ = ("afterwards", "answer", "send")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.send: Send | None = None
        self.afterwards: list[Callable[[], None]] = []


class Later(Response):
    """The response of a route whose ``answer`` takes its time."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a note, or answer where nobody would read it."""
        note: _Note | None = scope["state"].get("note")
        if note is None:
            await self._answer(scope, receive, send)
        else:
            note.answer, note.send = self._answer, send


def send_through(scope: Scope, send: Send) -> None:
    """Give a later answer through this ``send``: it is lighter than the route's, and misses nothing but crashes."""
    note: _Note | None = scope["state"].get("note")
    if note is not None and note.answer is not None:
        note.send = send


def afterwards(scope: Scope, work: Callable[[], None]) -> None:
    """Do something when the request is answered: now, or later."""
    note: _Note | None = scope["state"].get("note")
    if note is not None and note.answer is not None:
        note.afterwards.append(work)
    else:
        work()


class Unwinding:
    """Stands around the application and gives the answers that it has left for later."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = scope.setdefault("state", {})["note"] = _Note()
        await self._app(scope, receive, send)
        if note.answer is None or note.send is None:
            return
        # What the framework left there for its own calls.
        for name in [name for name in scope if name.startswith(("fastapi", "starlette", "path_params"))]:
            del scope[name]
        request_id_of_log.set(scope["state"]["request_id"])
        try:
            await note.answer(scope, receive, note.send)
        except Exception:
            log.exception("a request ended in a defect of this service")
            # Too late where the answer has begun: then the server ends the connection.
            with contextlib.suppress(RuntimeError):
                await problem(scope, "internal-error")(scope, receive, note.send)
        finally:
            for work in note.afterwards:
                work()
