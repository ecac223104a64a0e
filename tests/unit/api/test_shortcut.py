"""FastAPI's dependencies on every route, and the shortcut past its solver: the same answers, and what it relies on."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import event_stream, health, messages, webhook
from app.api.access import Callers
from app.api.access_log import AccessLog
from app.api.problems import install_handlers
from app.api.request_context import EveryRequest
from app.api.shortcuts import Application, StateShortcut, install_shortcut
from app.lookup.engine import Engine
from app.main import create_app
from app.settings import Settings
from app.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

ONE = "/messages/82216/state"
EVERY_ROUTER = {
    ("GET", ONE): messages.router,
    ("POST", "/messages/states"): messages.router,
    ("GET", "/messages/states/events?id=82216"): event_stream.router,
    ("POST", "/webhooks/message-states/token"): webhook.router,
    ("GET", "/readyz"): health.router,
}
REQUESTS = [
    *(
        ONE + query
        for query in ("", "?detail=true", "?detail=false", "?detail=1", "?wait=0", "?other=1", "?detail=maybe")
    ),
    *(
        f"/messages/{id_}/state"
        for id_ in ("0", "-1", "01", "+1", "1.0", "x", "%31", "9007199254740991", "9007199254740992")
    ),
    "/messages/9999999999999999/state",
    "/messages/99999999999999999/state",
    "/messages/82218/state",
    "/messages/401/state",
    "/messages/82216/state/",
    "/messages//state",
    "/messages/82216/states",
]


async def refuse() -> None:
    """A dependency that lets nobody pass."""
    raise HTTPException(404)


async def allow() -> None:
    """What takes its place."""


def has_shortcut(app: Application) -> bool:
    return isinstance(app._first, StateShortcut)


@asynccontextmanager
async def asked(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        yield client


def built(
    router: APIRouter, *, of_app: Sequence[Any] = (), of_include: Sequence[Any] = (), prefix: str = ""
) -> Application:
    """The service's application with other dependencies, and no router but this one."""
    service = create_app(Settings.for_sandbox())
    every = EveryRequest(service.state.service.lifecycle, AccessLog(Metrics("1")))
    app = Application(
        dependencies=list(of_app),
        middleware=service.user_middleware,
        lifespan=service.router.lifespan_context,
    )
    app.state.service = service.state.service
    app.include_router(router, dependencies=list(of_include), prefix=prefix)
    install_handlers(app)
    install_shortcut(app, messages.get_message_state, Callers(service.state.service.secrets), every)
    return app


@pytest.mark.parametrize(("request_", "router"), EVERY_ROUTER.items(), ids=[path for _, path in EVERY_ROUTER])
@pytest.mark.parametrize("where", ["of_app", "of_include"])
async def test_dependencies_and_overrides_work_on_every_route(
    where: str, request_: tuple[str, str], router: APIRouter
) -> None:
    app = built(router, **{where: [Depends(refuse)]})  # type: ignore[arg-type]  # the two names above
    async with asked(app) as client:
        refused = await client.request(*request_)
        assert (refused.status_code, refused.json()["type"]) == (404, "/problems/route-not-found")
        app.dependency_overrides[refuse] = allow
        if "events" not in request_[1]:  # whose stream would not end
            allowed = await client.request(*request_, json={"ids": [82216]})
            assert allowed.status_code == (404 if "webhooks" in request_[1] else 200)
    assert not has_shortcut(app)


async def test_a_route_that_is_included_under_a_prefix_is_found_there_alone() -> None:
    app = built(messages.router, prefix="/v1")
    async with asked(app) as client:
        assert (await client.get("/v1" + ONE)).status_code == 200
        assert (await client.get("/v1" + ONE)).headers["Cache-Status"].endswith("hit")
        assert (await client.get(ONE)).status_code == 404
    assert has_shortcut(app)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", REQUESTS)
async def test_the_shortcut_answers_as_the_ordinary_route_does(
    path: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Metrics, "http_request", lambda _self, route, *_: routes.append(route))
    routes: list[str] = []
    answers = []
    for with_shortcut in (True, False):
        app = create_app(Settings.for_sandbox())
        assert isinstance(app._first, StateShortcut)
        if not with_shortcut:
            app._first = app._first._app
        async with asked(app) as client:
            for headers in ({}, {"If-None-Match": "*"}):
                answer = await client.request(method, path, headers={"X-Request-ID": "same", **headers})
                answers.append((answer.status_code, answer.headers, answer.content, routes.pop()))
    assert answers[:2] == answers[2:]


async def test_a_plain_request_takes_the_shortcut_and_needs_no_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(Settings.for_sandbox())
    async with asked(app) as client:
        monkeypatch.setattr("fastapi.routing.solve_dependencies", None)
        assert (await client.get(ONE)).status_code == 200
        assert (await client.get(ONE + "?wait=0")).status_code == 500


async def test_the_place_of_a_message_is_found_by_the_name_of_its_route() -> None:
    app = create_app(Settings.for_sandbox())
    assert app.url_path_for("get_message_state", id="82216") == ONE


async def test_fastapi_and_starlette_have_what_the_shortcut_relies_on() -> None:
    async def needed() -> None: ...

    router = APIRouter(prefix="/a")

    @router.get("/{id}/b", dependencies=[Depends(needed)])
    async def with_dependency(request: Request, id: int) -> None: ...

    @router.get("/{id}/c")
    async def without(request: Request, id: int) -> None: ...

    @router.get("/{id}/d")
    async def by_parameter(id: int, value: Annotated[None, Depends(needed)]) -> None: ...

    app = FastAPI(openapi_url=None)
    app.include_router(router, prefix="/v1")
    contexts: list[RouteContext] = list(iter_route_contexts(app.routes))
    assert [(each.path_format, each.endpoint, len(each.dependant.dependencies)) for each in contexts] == [
        ("/v1/a/{id}/b", with_dependency, 1),
        ("/v1/a/{id}/c", without, 0),
        ("/v1/a/{id}/d", by_parameter, 1),
    ]
    assert contexts[0].original_route.path == "/a/{id}/b"  # type: ignore[attr-defined]  # as FastAPI names it in a scope
    # The outermost middleware stands first, and none can be added once the application has started.
    app.add_middleware(Seeing, [], name="inner")
    app.add_middleware(Seeing, [], name="outer")
    added: list[Any] = app.user_middleware
    assert [(each.cls, each.args, each.kwargs) for each in added] == [
        (Seeing, ([],), {"name": "outer"}),
        (Seeing, ([],), {"name": "inner"}),
    ]
    async with asked(app) as client:
        assert (await client.get("/v1/a/1/c")).status_code == 200
    with pytest.raises(RuntimeError):
        app.add_middleware(Seeing, [], name="late")


class Seeing:
    """A middleware that somebody adds: it notes each request, and what its answer is about."""

    def __init__(self, app: ASGIApp, seen: list[str], name: str) -> None:
        self._app = app
        self._seen = seen
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", None)
                self._seen.append(
                    f"{self._name} {scope['path']} {message['status']} {route} {scope.get('path_params')}"
                )
            await send(message)

        await self._app(scope, receive, send_seen)


async def test_middleware_that_somebody_adds_stands_around_every_state() -> None:
    seen: dict[bool, list[str]] = {True: [], False: []}
    for with_shortcut, noted in seen.items():
        app = create_app(Settings.for_sandbox())
        app.add_middleware(Seeing, noted, name="inner")
        app.add_middleware(Seeing, noted, name="outer")
        assert isinstance(app._first, StateShortcut)
        if not with_shortcut:
            app._first = app._first._app
        async with asked(app) as client:
            for path in (ONE, ONE, "/messages/82218/state", "/livez"):
                await client.get(path)
    assert seen[True] == seen[False]
    assert len(seen[True]) == 8


async def test_a_handler_of_exceptions_that_somebody_adds_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def teapot(_request: Request, _error: Exception) -> Response:
        return Response(status_code=418)

    def fail(*_arguments: object, **_options: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(Engine, "lookup", fail)
    app = create_app(Settings.for_sandbox())
    app.add_exception_handler(ArithmeticError, teapot)
    async with asked(app) as client:
        assert (await client.get(ONE)).status_code == 418


async def test_the_route_of_a_state_is_counted_by_one_name_however_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes: list[str] = []
    monkeypatch.setattr(Metrics, "http_request", lambda _self, route, *_: routes.append(route))
    app = built(messages.router, prefix="/v1")
    async with asked(app) as client:
        for query in ("", "", "?detail=1", "?detail=true"):
            assert (await client.get("/v1" + ONE + query)).status_code == 200
    assert len(routes) == 4
    assert len(set(routes)) == 1
