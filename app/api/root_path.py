"""The prefix under which a proxy publishes the service (``ROOT_PATH``). Plain ASGI."""

from starlette.types import ASGIApp, Receive, Scope, Send


def root_path_of(scope: Scope) -> str:
    """The prefix that paths in an answer begin with, like ``/sms``; empty where the service has none."""
    root_path: str = scope.get("state", {}).get("root_path", "")
    return root_path


class RootPath:
    """Removes the prefix from the path of a request, once, where it is there.

    So it does not matter whether the proxy removes it, and everything inside sees the path without it. What ASGI
    calls ``root_path`` is not set: Starlette would remove the prefix again, from paths that repeat it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path
        self._raw = root_path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["root_path"] = self._root_path
        path: str = scope["path"]
        if path == self._root_path or path.startswith(f"{self._root_path}/"):
            # In place, since who stands around the application finds the route in this scope afterwards.
            scope["path"] = path[len(self._root_path) :] or "/"
            raw: bytes | None = scope.get("raw_path")
            if raw is not None and raw.startswith(self._raw):
                scope["raw_path"] = raw[len(self._raw) :] or b"/"
        await self._app(scope, receive, send)
