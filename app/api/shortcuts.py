"""Shortcuts past FastAPI for what frontends ask all day: the state of one message, by a plain GET.

``CachedState`` answers from memory, before FastAPI and all middleware but ``RootPath``. ``DirectRoute`` answers the
rest: it calls the endpoint without FastAPI's parsing of parameters. Either answers byte for byte as the ordinary way
would, and hands on what it cannot answer so. What they gain and rely on:
``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access import Callers
from app.api.access_log import Ended
from app.api.caching import Header, StateContent, wants_fresh
from app.api.context import RequestState
from app.api.request_context import EveryRequest
from app.api.schemas import state_body
from app.lookup.record import MAX_MESSAGE_ID, MessageRecord

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service

Endpoint = Callable[[Request, int, bool], Awaitable[Response]]

MAX_CONTENTS = 4096
"""States whose bodies and headers are kept while they stay: 0.8 KB each (``python -m bench.kept_answers``)."""

log = logging.getLogger(__name__)

_Answer = tuple[int, bytes, list[Header]]

_DETAIL = {b"": False, b"detail=false": False, b"detail=true": True}


class _StatePath:
    """Reads a plain GET of a state: the id, and whether detail is wanted. ``path`` is the route's, with ``{id}``."""

    def __init__(self, path: str) -> None:
        before, after = map(re.escape, path.split("{id}"))
        self._pattern = re.compile(f"{before}([1-9][0-9]{{0,15}}){after}")

    def read(self, scope: Scope) -> tuple[int, bool] | None:
        """None for a request that is anything else, or whose id is none."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        detail = _DETAIL.get(scope["query_string"])
        # FastAPI sets a root path of its own for an application that is mounted in another one.
        found = self._pattern.fullmatch(scope["path"].removeprefix(scope.get("root_path", "")))
        if found is None or detail is None or (id_ := int(found[1])) > MAX_MESSAGE_ID:
            return None
        return id_, detail


class Application(FastAPI):
    """FastAPI, and what stands before it: an application of FastAPI's has five layers outside of its middleware."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._first: ASGIApp = super().__call__

    def put_before(self, middleware: Callable[..., ASGIApp], *options: object) -> None:
        """Let a middleware have each request before FastAPI; the one that is put there last has it first."""
        self._first = middleware(self._first, *options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        await self._first(scope, receive, send)


class CachedState:
    """Answers a plain GET of a state from memory; leaves every other request to the application inside.

    ``path`` is the template of the route, with ``{id}``.
    """

    def __init__(self, app: ASGIApp, path: str, service: "Service", callers: Callers, every: EveryRequest) -> None:
        self._app = app
        self._route = path
        self._path = _StatePath(path)
        self._service = service
        self._callers = callers
        self._every = every
        self._contents: dict[tuple[int, bool], tuple[MessageRecord, StateContent]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        started = perf_counter()
        try:
            answer = self._answer(scope)
        except Exception:
            # Outside of what makes a problem document of a crash: the ordinary way answers, by a state or by that.
            log.exception("unhandled error while handling a request")
            answer = None
        return self._app(scope, receive, send) if answer is None else self._send(scope, send, answer, started)

    async def _send(self, scope: Scope, send: Send, answer: _Answer, started: float) -> None:
        status, body, headers = answer
        state: RequestState = scope["state"]
        try:
            start = {"type": "http.response.start", "status": status, "headers": self._every.headers(scope, headers)}
            state["status"] = status
            await send(start)
            await send({"type": "http.response.body", "body": body})
        finally:
            self._every.access_log.end(Ended(scope, perf_counter() - started, None, time()))

    def _answer(self, scope: Scope) -> _Answer | None:
        """Status, body and headers, where nothing has to be asked, waited for, or refused."""
        asked = self._path.read(scope)
        if asked is None:
            return None
        id_, detail = asked
        state: RequestState = scope.setdefault("state", {})
        if "refusal" in state or wants_fresh(scope) or not self._callers.identify(scope):
            return None
        quotas = self._service.quotas
        if quotas is not None and not quotas.has(state["caller"].identity, 1):
            return None
        result = self._service.engine.at_hand(id_, detail)
        if result is None:
            return None
        if quotas is not None:
            quotas.take(state["caller"].identity, 1)
        state["route"] = self._route
        state["results"] = {id_: result}
        answer = self._content(cast(MessageRecord, result.answer), detail, result.lifetime).answer(
            scope, result.age, hit=True
        )
        state["request_id"] = self._every.request_id(scope)
        return answer

    def _content(self, record: MessageRecord, detail: bool, lifetime: float) -> StateContent:
        kept = self._contents.get((record.id, detail))
        if kept is not None and kept[0] is record:
            return kept[1]
        content = StateContent.of(state_body(record, detail), lifetime)
        self._contents[record.id, detail] = record, content
        if len(self._contents) > MAX_CONTENTS:
            del self._contents[next(iter(self._contents))]
        return content


class DirectRoute(BaseRoute):
    """Takes a plain GET of a state to the endpoint; leaves every other request to the ordinary route.

    ``ordinary`` is that route as it was included; it has no dependencies. ``endpoint`` takes the request, the id and
    ``detail``.
    """

    def __init__(self, ordinary: RouteContext, endpoint: Endpoint) -> None:
        # As FastAPI's own routes have them: for the name of a span, and for whoever lists the routes.
        self.path = self.path_format = ordinary.path_format or ""
        self.methods = {"GET"}
        self._path = _StatePath(self.path)
        self._route = ordinary.original_route
        self._endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is well-formed and needs nothing of FastAPI."""
        asked = self._path.read(scope)
        if asked is None:
            return Match.NONE, {}
        return Match.FULL, {"endpoint": self._endpoint, "path_params": {"id": str(asked[0])}, "route": self._route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        id_, detail = int(scope["path_params"]["id"]), _DETAIL[scope["query_string"]]
        response = await self._endpoint(Request(scope, receive, send), id_, detail)
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        """The ordinary route has the name."""
        raise NoMatchFound(name, path_params)


def install_cached_state(
    app: Application, endpoint: Callable[..., object], callers: Callers, every: EveryRequest
) -> None:
    """Put ``CachedState`` before the application, for each route of the endpoint that has no dependencies."""
    for route in _without_dependencies(app, endpoint):
        app.put_before(CachedState, route.path_format or "", app.state.service, callers, every)


def install_direct_route(app: FastAPI, endpoint: Endpoint) -> None:
    """Put ``DirectRoute`` before the ordinary routes of the endpoint that have no dependencies."""
    for ordinary in list(_without_dependencies(app, endpoint)):
        app.router.routes.insert(0, DirectRoute(ordinary, endpoint))


def _without_dependencies(app: FastAPI, endpoint: Callable[..., object]) -> Iterator[RouteContext]:
    for route in iter_route_contexts(app.routes):
        if route.endpoint is endpoint and not route.dependant.dependencies:
            yield route
