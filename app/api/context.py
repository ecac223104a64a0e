"""What is known of a request: the service that answers it, who asks, and the prefix under which it came."""

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.lookup.caller import Caller

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service


def service_of(request: Request) -> "Service":
    """The service that answers a request: the only state of the application."""
    service: Service = request.app.state.service
    return service


def caller_of(scope: Scope) -> Caller:
    """Who asks, as ``Access`` has found out."""
    caller: Caller = scope["state"]["caller"]
    return caller


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
