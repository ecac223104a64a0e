"""Answers that take their time, made outside of the framework's calls. Plain ASGI.

A request that waits keeps in memory every call that led to it: with FastAPI's routing about 12 KB, more than all else
that a waiter costs. So the route's response only says what is to be done, the calls return, and it is done here.
"""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]

_LATER = "later"


class Later(Response):
    """The response of a route whose ``answer`` comes when the framework has returned."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave a note for ``Unwinding``."""
        del receive, send
        scope["state"][_LATER] = self._answer


class Unwinding:
    """Gives the answers that routes have left for later."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        await self._app(scope, receive, send)
        answer: Answer | None = scope["state"].pop(_LATER, None) if scope["type"] == "http" else None
        if answer is not None:
            # What the framework left there for its own calls.
            for name in [name for name in scope if name.startswith("fastapi")]:
                del scope[name]
            await answer(scope, receive, send)
