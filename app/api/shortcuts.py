"""The shortcut past FastAPI for what frontends ask all day: the state of one message, by a plain GET.

``StateShortcut`` answers from memory, before FastAPI and all middleware but ``RootPath``. What is not in memory it
takes to the endpoint: through the service's own middleware, without FastAPI's routes and its parsing of parameters.
Either way the answer is the ordinary one to the byte. Every other request is left to FastAPI; all of them are where
traces are recorded, or where somebody has added middleware. What this gains and relies on:
``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from functools import cached_property
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access import Callers
from app.api.access_log import Ended
from app.api.caching import Header, StateContent, if_none_match, wants_fresh
from app.api.context import RequestState, path_of
from app.api.request_context import EveryRequest
from app.api.schemas import state_body
from app.lookup.record import MAX_MESSAGE_ID, MessageRecord
from app.telemetry.tracing import has_provider

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service

Endpoint = Callable[[Request, int, bool], Awaitable[Response]]

MAX_CONTENTS = 4096
"""States whose bodies and headers are kept, the latest: 0.8 KB each (``python -m bench.kept_answers``)."""

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
        if scope["method"] != "GET":
            return None
        detail = _DETAIL.get(scope["query_string"])
        found = self._pattern.fullmatch(path_of(scope) if scope.get("root_path") else scope["path"])
        if found is None or detail is None or (id_ := int(found[1])) > MAX_MESSAGE_ID:
            return None
        return id_, detail


class Application(FastAPI):
    """FastAPI, and what stands before it: an application of FastAPI's has five layers outside of its middleware."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._first: ASGIApp = super().__call__

    def put_before(self, middleware: Callable[..., ASGIApp], **options: object) -> None:
        """Let a middleware have each request before FastAPI; the one that is put there last has it first."""
        self._first = middleware(self._first, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the lifespan."""
        await self._first(scope, receive, send)


class StateShortcut:
    """Answers a plain GET of a state; leaves every other request to the application inside.

    ``route`` is the ordinary one, as it was included; it has no dependencies. ``endpoint`` takes the request, the id
    and ``detail``.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        application: FastAPI,
        route: RouteContext,
        endpoint: Endpoint,
        callers: Callers,
        every: EveryRequest,
    ) -> None:
        self._app = app
        self._application = application
        self._service: Service = application.state.service
        self._path = _StatePath(route.path_format or "")
        self._route = route.original_route
        self._endpoint = endpoint
        self._callers = callers
        self._every = every
        self._contents: dict[tuple[int, bool], tuple[MessageRecord, StateContent]] = {}
        self._within_middleware: ASGIApp = self._ask
        for each in reversed(application.user_middleware):
            self._within_middleware = each.cls(self._within_middleware, *each.args, **each.kwargs)
        self._own = self._parts()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        started = perf_counter()
        if scope["type"] != "http" or not self._is_on or (asked := self._path.read(scope)) is None:
            return self._app(scope, receive, send)
        try:
            answer = self._from_memory(scope, *asked)
        except Exception:
            # The ordinary way answers, and where it fails as well, by a problem document.
            log.exception("unhandled error while handling a request")
            answer = None
        if answer is not None:
            return self._send(scope, send, answer, started)
        scope["state"]["asked"] = asked
        return self._within_middleware(scope, receive, send)

    @cached_property
    def _is_on(self) -> bool:
        """Whether FastAPI would do no more than this. Found out with the first request: then all is there."""
        return self._parts() == self._own and not has_provider()  # of traces, whose spans FastAPI makes

    def _parts(self) -> tuple[int, int]:
        """How many parts there are around the routes: what an application adds to its own has to be called."""
        return len(self._application.user_middleware), len(self._application.exception_handlers)

    # --- from memory ---

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

    def _from_memory(self, scope: Scope, id_: int, detail: bool) -> _Answer | None:
        """Status, body and headers, where nothing has to be asked, waited for, or refused."""
        state: RequestState = scope.setdefault("state", {})
        # What reads a header is called where there is one: to look through all of them takes as long as all the rest.
        given = dict(scope["headers"])
        if (
            "refusal" in state
            or (b"cache-control" in given and wants_fresh(scope))
            or not self._callers.identify(scope)
        ):
            return None
        quotas = self._service.quotas
        if quotas is not None and not quotas.has(state["caller"].identity, 1):
            return None
        result = self._service.engine.at_hand(id_, detail)
        if result is None:
            return None
        content = self._content(cast(MessageRecord, result.answer), detail, result.lifetime)
        known = if_none_match(scope) if b"if-none-match" in given else None
        answer = content.answer(known, result.age, hit=True)
        every = self._every
        state["request_id"] = every.request_id(scope) if b"x-request-id" in given else every.make_id()
        scope["route"] = self._route
        state["results"] = {id_: result}
        if quotas is not None:
            quotas.take(state["caller"].identity, 1)
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

    # --- by the endpoint ---

    async def _ask(self, scope: Scope, receive: Receive, send: Send) -> None:
        id_, detail = scope["state"]["asked"]
        # As FastAPI's router has them.
        parameters = {**scope.get("path_params", {}), "id": str(id_)}
        scope.update(app=self._application, route=self._route, endpoint=self._endpoint, path_params=parameters)
        response = await self._endpoint(Request(scope, receive, send), id_, detail)
        await response(scope, receive, send)


def install_shortcut(app: Application, endpoint: Endpoint, callers: Callers, every: EveryRequest) -> None:
    """Put the shortcut before the application, for each route of the endpoint that has no dependencies.

    The application has its own middleware and handlers of exceptions by now.
    """
    for route in iter_route_contexts(app.routes):
        if route.endpoint is endpoint and not route.dependant.dependencies:
            app.put_before(
                StateShortcut,
                application=app,
                route=route,
                endpoint=endpoint,
                callers=callers,
                every=every,
            )
