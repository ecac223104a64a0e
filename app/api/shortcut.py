"""A shortcut past FastAPI for the one request that frontends send all day: the state of one message.

What it gains, relies on and does not change: ``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

import re
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from app.lookup.record import MAX_MESSAGE_ID

Endpoint = Callable[[Request, int, bool], Awaitable[Response]]

_PLAIN_QUERIES = {b"": False, b"detail=false": False, b"detail=true": True}


class StateShortcut(BaseRoute):
    """Takes a well-formed request for a state to the endpoint; leaves every other one to the ordinary route.

    ``ordinary`` is that route as it was included; it has no dependencies. ``endpoint`` takes the request, the id and
    ``detail``.
    """

    def __init__(self, ordinary: RouteContext, endpoint: Endpoint) -> None:
        # As FastAPI's own routes have them: for the name of a span, and for whoever lists the routes.
        self.path = self.path_format = ordinary.path_format or ""
        self.methods = {"GET"}
        before, after = map(re.escape, self.path_format.split("{id}"))
        self._path = re.compile(f"{before}([1-9][0-9]{{0,15}}){after}")
        self._route = ordinary.original_route
        self._endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is well-formed and needs nothing of FastAPI."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["query_string"] not in _PLAIN_QUERIES:
            return Match.NONE, {}
        found = self._path.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
        if found is None or int(found[1]) > MAX_MESSAGE_ID:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self._endpoint, "path_params": {"id": found[1]}, "route": self._route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        id_, detail = int(scope["path_params"]["id"]), _PLAIN_QUERIES[scope["query_string"]]
        response = await self._endpoint(Request(scope, receive, send), id_, detail)
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        """The ordinary route has the name."""
        raise NoMatchFound(name, path_params)


def install_shortcut(app: FastAPI, endpoint: Endpoint) -> None:
    """Put the shortcut before the ordinary routes of the endpoint. One that has dependencies gets none."""
    for ordinary in list(iter_route_contexts(app.routes)):
        if ordinary.endpoint is endpoint and not ordinary.dependant.dependencies:
            app.router.routes.insert(0, StateShortcut(ordinary, endpoint))
