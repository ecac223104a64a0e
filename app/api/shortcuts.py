"""The shortcut past FastAPI for what frontends ask all day: the state of one message, by a plain GET.

``StateShortcut`` answers from memory, before FastAPI and all middleware but ``RootPath``; what is not in memory by the
same endpoint as the ordinary way, and like that to the byte. A caller without its key and every other request are left
to FastAPI; all of them are where traces are recorded, or where somebody has added middleware. What this gains and
relies on: ``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

import logging
import re
from collections.abc import Awaitable, Callable
from functools import cached_property, lru_cache, partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access import CLOSED, Callers
from app.api.access_log import given_trace_id
from app.api.caching import Header, StateContent, if_none_match, wants_fresh
from app.api.context import RequestState, path_of
from app.api.problems import problem
from app.api.request_context import EveryRequest
from app.api.schemas import state_body
from app.lookup.record import MAX_MESSAGE_ID, MessageRecord
from app.lookup.waiter import Source
from app.telemetry.logs import MAX_SHARED, Shared, request_id_of_log
from app.telemetry.tracing import has_provider

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service

Endpoint = Callable[[Request, int, bool], Awaitable[Response]]

MAX_CONTENTS = 4096
"""States whose bodies and headers are kept, the latest: 1 KB each (``python -m bench.kept_answers``)."""

log = logging.getLogger(__name__)

_Target = tuple[str, bytes, str | None]
"""Path, query, and the prefix under which the application is mounted."""
_DETAIL = {b"": False, b"detail=false": False, b"detail=true": True}


class _StatePath:
    """Reads a plain GET of a state: the id, and whether detail is wanted. ``path`` is the route's, with ``{id}``."""

    def __init__(self, path: str) -> None:
        before, after = map(re.escape, path.split("{id}"))
        self._pattern = re.compile(f"{before}([1-9][0-9]{{0,15}}){after}")

    def read(self, scope: Scope) -> tuple[int, bool] | None:
        """None where a GET is of anything else, or its id is none."""
        detail = _DETAIL.get(scope["query_string"])
        found = self._pattern.fullmatch(path_of(scope) if scope.get("root_path") else scope["path"])
        if found is None or detail is None or (id_ := int(found[1])) > MAX_MESSAGE_ID:
            return None
        return id_, detail


class _Kept:
    """What a target asks for, and the content of its answers as long as the record stays."""

    __slots__ = ("asked", "content", "record")

    def __init__(self, asked: tuple[int, bool], record: MessageRecord, lifetime: float) -> None:
        self.asked = asked
        self.record = record
        self.content = StateContent.of(state_body(record, asked[1]), lifetime)


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
        self._route = route.original_route
        path = route.path_format or ""
        self._path = _StatePath(path)
        self._endpoint = endpoint
        # Each prefix before CLOSED of any route is one of those that ``Callers`` knows.
        self._identify = callers.identify_by_key if CLOSED in path else callers.identify
        self._every = every
        self._kept: dict[_Target, _Kept] = {}
        self._shared = lru_cache(MAX_SHARED)(partial(_shared, getattr(self._route, "path", "")))
        self._own = self._parts()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        started = perf_counter()
        if scope["type"] != "http" or scope["method"] != "GET" or not self._is_on:
            return self._app(scope, receive, send)
        target = scope["path"], scope["query_string"], scope.get("root_path")
        kept = self._kept.get(target)
        asked = self._path.read(scope) if kept is None else kept.asked
        if asked is None or "refusal" in scope.setdefault("state", {}):
            return self._app(scope, receive, send)
        try:
            if self._identify(scope):
                from_memory = self._from_memory(scope, send, target, asked, started)
                return from_memory or self._ask(scope, receive, send, asked, started)
        except Exception:
            # The ordinary way answers, and where it fails as well, by a problem document.
            log.exception("unhandled error while handling a request")
        return self._app(scope, receive, send)

    @cached_property
    def _is_on(self) -> bool:
        """Whether FastAPI would do no more than this. Found out with the first request: then all is there."""
        return self._parts() == self._own and not has_provider()  # of traces, whose spans FastAPI makes

    def _parts(self) -> tuple[int, int]:
        """How many parts there are around the routes: what an application adds to its own has to be called."""
        return len(self._application.user_middleware), len(self._application.exception_handlers)

    # --- from memory ---

    def _from_memory(
        self, scope: Scope, send: Send, target: _Target, asked: tuple[int, bool], started: float
    ) -> Awaitable[None] | None:
        """Answer, where nothing has to be asked, waited for, or refused."""
        state: RequestState = scope["state"]
        # What reads a header is called where there is one: to look through all of them takes as long as all the rest.
        given = dict(scope["headers"])
        if b"cache-control" in given and wants_fresh(scope):
            return None
        quotas = self._service.quotas
        if quotas is not None and not quotas.has(state["caller"].identity, 1):
            return None
        found = self._service.engine.at_hand(*asked)
        if found is None:
            return None
        cached, age = found
        kept = self._kept.get(target)
        if kept is None or kept.record is not cached.answer:
            kept = self._keep(target, _Kept(asked, cast(MessageRecord, cached.answer), cached.max_age))
        known = if_none_match(scope) if b"if-none-match" in given else None
        status, body, headers = kept.content.answer(known, age, hit=True)
        every = self._every
        request_id = state["request_id"] = every.request_id(scope) if b"x-request-id" in given else every.make_id()
        headers = every.headers(scope, headers)
        scope["route"] = self._route
        trace_id = given_trace_id(scope) if b"traceparent" in given else None
        if quotas is not None:
            quotas.take(state["caller"].identity, 1)
        shared = self._shared(state["logged_caller"] or None, status)
        return self._send(send, status, headers, body, ended=(started, request_id, trace_id, shared))

    def _keep(self, target: _Target, kept: _Kept) -> _Kept:
        self._kept[target] = kept
        if len(self._kept) > MAX_CONTENTS:
            del self._kept[next(iter(self._kept))]
        return kept

    async def _send(
        self,
        send: Send,
        status: int,
        headers: list[Header],
        body: bytes,
        *,
        ended: tuple[float, str, str | None, Shared],
    ) -> None:
        started, request_id, trace_id, shared = ended
        try:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        finally:
            self._every.access_log.end((time(), request_id, perf_counter() - started, trace_id, shared))

    # --- by the endpoint ---

    async def _ask(self, scope: Scope, receive: Receive, send: Send, asked: tuple[int, bool], started: float) -> None:
        """Answer by the endpoint, which raises nothing that FastAPI would have an answer for.

        Its responses have a whole body, since it waits for nothing but a lookup.
        """
        id_, detail = asked
        state: RequestState = scope["state"]
        # As FastAPI's router has them.
        parameters = {**scope.get("path_params", {}), "id": str(id_)}
        scope.update(app=self._application, route=self._route, endpoint=self._endpoint, path_params=parameters)
        every = self._every
        request_id = state["request_id"] = every.request_id(scope)
        token = request_id_of_log.set(request_id)
        try:
            try:
                response = await self._endpoint(Request(scope, receive, send), id_, detail)
            except Exception:
                log.exception("unhandled error while handling a request")
                response = problem(scope, "internal-error")
            status = state["status"] = response.status_code
            headers = every.headers(scope, response.raw_headers)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": response.body})
        finally:
            request_id_of_log.reset(token)
            every.end(scope, perf_counter() - started, None)


def _shared(path: str, caller: str | None, status: int) -> Shared:
    return Shared(caller, path, "GET", status, Source.CACHE, 0, None)


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
