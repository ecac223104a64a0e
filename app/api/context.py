"""What is known of a request: the service that answers it, who asks, and the prefix under which it came."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypedDict

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.lookup.caller import Caller
from app.lookup.engine import LookupResult

if TYPE_CHECKING:  # they stand above this module
    from app.api.request_context import Refusal
    from app.service import Service


class RequestState(TypedDict, total=False):
    """``scope["state"]``: what is known of one request. Who writes a member, and who reads it:"""

    refusal: "Refusal"
    """Why the server refuses the request. The server; ``RequestContext``."""
    replaced: bool
    """The server answers in place of the application. The server; ``line_of``."""
    root_path: str
    """The prefix that a proxy publishes the service under. ``RootPath``; whoever writes a path into an answer."""
    request_id: str
    """``RequestContext`` and ``StateShortcut``; problem documents, headers, the log."""
    head: bool
    """Only the head of the answer is wanted. ``RequestContext``; the routes, by ``is_head``."""
    caller: Caller
    """Who asks, for turns, shares, quotas and metrics. ``Callers``; the routes, by ``caller_of``."""
    logged_caller: str
    """What the log calls it: the name of its key, else its address. ``Callers``; ``line_of``."""
    deferred: Callable[[Scope, Receive, Send], Awaitable[None]]
    """The response of a route that waits. ``DeferredResponse``; ``RequestContext``."""
    status: int
    """Once the response has begun. Whoever sends it; ``line_of``."""
    problem: str
    """The slug of the problem that is the answer. ``problem``; ``line_of``."""
    route: str
    """The route for log and metric, where FastAPI's is not it. Long polls; ``line_of``."""
    results: dict[int, LookupResult]
    """What a lookup has brought. The routes; ``line_of``. Nothing for a state from memory by ``StateShortcut``."""


def service_of(request: Request) -> "Service":
    """The service that answers a request: the only state of the application."""
    service: Service = request.app.state.service
    return service


def caller_of(scope: Scope) -> Caller:
    """Who asks, as ``Callers`` has found out."""
    caller: Caller = scope["state"]["caller"]
    return caller


def path_of(scope: Scope) -> str:
    """The path that the routes are matched with: without the prefix under which the application is mounted."""
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path.startswith(root_path) and path[len(root_path) :][:1] in {"", "/"}:
        return path[len(root_path) :]
    return path


def is_head(scope: Scope) -> bool:
    """Whether only the head of the answer is wanted: then nothing is waited for, streamed or charged."""
    return "head" in scope["state"]


def root_path_of(scope: Scope) -> str:
    """The prefix that paths in an answer begin with, like ``/sms``; empty where the service has none."""
    root_path: str = scope.get("state", {}).get("root_path", "")
    return root_path


class RootPath:
    """Removes the prefix that a proxy publishes the service under (``ROOT_PATH``), once, where a path has it.

    So it does not matter whether the proxy removes it, and everything inside sees the path without it. What ASGI
    calls ``root_path`` is not set: Starlette would remove the prefix again, from paths that repeat it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        self._raw = root_path.encode()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        if scope["type"] != "http":
            return self._app(scope, receive, send)
        scope.setdefault("state", {})["root_path"] = self._root_path
        path: str = scope["path"]
        if path == self._root_path or path.startswith(f"{self._root_path}/"):
            # In place, since who stands around the application finds the route in this scope afterwards.
            scope["path"] = path[len(self._root_path) :] or "/"
            raw: bytes | None = scope.get("raw_path")
            if raw is not None and raw.startswith(self._raw):
                scope["raw_path"] = raw[len(self._raw) :] or b"/"
        return self._app(scope, receive, send)
