"""``dependencies``, ``dependency_overrides`` and ``include_router`` work on every route as FastAPI documents them.

The application is the one that ``create_app`` makes, from a FastAPI that is given what a developer would write there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.routing import APIRoute, iter_route_contexts

from app.api import messages
from app.api.shortcuts import Application
from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.anyio

Where = Literal["the application", "each router"]
Dependency = Callable[[], Awaitable[None]]

FILLED = {"{id}": "82216", "{token}": "a-token", "{name}": "style.css", "{slug}": "overloaded"}
# Not found, so that the stream ends by itself.
QUERIES = {"/messages/states/events": "?id=82218"}


def every_route() -> list[tuple[str, str]]:
    """Method and path of each route, but for /openapi.json, which FastAPI itself makes and gives no dependencies."""
    found = []
    for context in iter_route_contexts(create_app(Settings.for_sandbox()).routes):
        path = context.path_format or ""
        for name, value in FILLED.items():
            path = path.replace(name, value)
        assert "{" not in path, "a parameter that this test has no value for"
        if isinstance(context.original_route, APIRoute):
            found += [(method, path + QUERIES.get(path, "")) for method in sorted(context.methods or ())]
    return found


ROUTES = every_route()


async def refuse() -> None:
    """A dependency that lets nobody pass."""
    raise HTTPException(404)


def application(
    monkeypatch: pytest.MonkeyPatch, where: Where, *dependencies: Dependency, prefix: str = "", **settings: str
) -> FastAPI:
    """What ``create_app`` makes where somebody has written these dependencies, or this prefix, into it."""
    wanted = [Depends(each) for each in dependencies]

    class Changed(Application):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options, dependencies=wanted if where == "the application" else [])

        def include_router(self, router: APIRouter, **options: Any) -> None:
            super().include_router(
                router, **options, dependencies=wanted if where == "each router" else [], prefix=prefix
            )

    with monkeypatch.context() as patch:
        patch.setattr("app.main.Application", Changed)
        return create_app(Settings.for_sandbox(**settings))


@asynccontextmanager
async def asked(app: FastAPI) -> AsyncIterator[Callable[[str, str], Awaitable[httpx.Response]]]:
    """The running application, to be asked."""

    async def ask(method: str, path: str) -> httpx.Response:
        return await client.request(method, path, json={"ids": [82216]} if method == "POST" else None)

    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client,
    ):
        yield ask


def test_the_routes_are_all_there() -> None:
    documented = create_app(Settings.for_sandbox()).openapi()["paths"]
    assert len(ROUTES) >= sum(map(len, documented.values()))
    assert {("GET", "/messages/82216/state"), ("GET", "/docs"), ("POST", "/messages/states")} <= {*ROUTES}


@pytest.mark.parametrize("where", ["the application", "each router"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_dependency_is_called_for_each_request(
    method: str, path: str, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def count() -> None:
        calls.append(path)

    async with asked(create_app(Settings.for_sandbox())) as ask:
        ordinary = [await ask(method, path) for _ in range(3)]
    async with asked(application(monkeypatch, where, count)) as ask:
        # The second and third answer may come from memory.
        for number in range(3):
            answer = await ask(method, path)
            assert answer.status_code == ordinary[number].status_code
            assert answer.headers.get("Cache-Status") == ordinary[number].headers.get("Cache-Status")
            assert len(calls) == number + 1


@pytest.mark.parametrize("where", ["the application", "each router"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_dependency_may_refuse_and_an_override_takes_its_place_whenever_it_is_set(
    method: str, path: str, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    async def allow() -> None:
        calls.append(path)

    app = application(monkeypatch, where, refuse)
    async with asked(app) as ask:
        assert (await ask(method, path)).status_code == 404
        app.dependency_overrides[refuse] = allow
        for number in range(2):
            allowed = await ask(method, path)
            # Without the setting for it there is no webhook.
            assert (allowed.status_code == 404) == path.startswith("/webhooks/")
            assert len(calls) == number + 1
        app.dependency_overrides.clear()
        refused = await ask(method, path)
        assert (refused.status_code, refused.json()["type"]) == (404, "/problems/route-not-found")


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_routers_that_are_included_under_a_prefix_answer_there_alone(
    method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(create_app(Settings.for_sandbox())) as ask:
        ordinary = [await ask(method, path) for _ in range(2)]
    async with asked(application(monkeypatch, "each router", prefix="/v1")) as ask:
        for expected in ordinary:
            answer = await ask(method, f"/v1{path}")
            assert answer.status_code == expected.status_code
            assert answer.headers.get("Cache-Status") == expected.headers.get("Cache-Status")
        assert (await ask(method, path)).status_code == 404


KEY = "k" * 24


def mounted(prefix: str) -> FastAPI:
    """The service in another application, below a prefix."""
    inner = create_app(Settings.for_sandbox(api_keys=f"page:{KEY}"))
    outer = FastAPI(lifespan=inner.router.lifespan_context)
    outer.mount(prefix, inner)
    return outer


@pytest.mark.parametrize("prefix", ["/v1", "/message", "/m", "/messages"])
@pytest.mark.parametrize("how", ["included", "mounted"])
async def test_under_a_prefix_the_same_routes_need_a_key(
    how: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "mounted":
        outer = mounted(prefix)
    else:
        outer = application(monkeypatch, "each router", prefix=prefix, api_keys=f"page:{KEY}")
    async with asked(create_app(Settings.for_sandbox(api_keys=f"page:{KEY}"))) as ask:
        ordinary = {(method, path): (await ask(method, path)).status_code for method, path in ROUTES}
    closed = {path for (_, path), status in ordinary.items() if status == 401}
    assert {path.partition("?")[0] for path in closed} == {
        "/messages/82216/state",
        "/messages/states",
        "/messages/states/events",
    }
    async with asked(outer) as ask:
        for (method, path), status in ordinary.items():
            if status == 401 or (how, prefix) != ("included", "/messages"):  # which closes everything below it
                assert (await ask(method, prefix + path)).status_code == status
        assert (await ask("GET", f"{prefix}/messages/nothing/there")).status_code == 401


async def test_a_prefix_with_a_parameter_and_routes_that_come_later_need_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    app = application(monkeypatch, "each router", prefix="/{tenant}", api_keys=f"page:{KEY}")
    FastAPI.include_router(app, messages.router, prefix="/later")
    async with asked(app) as ask:
        for before in ("/acme", "/a%0Ab", "/later"):
            assert (await ask("GET", f"{before}/messages/82216/state")).status_code == 401
            assert (await ask("POST", f"{before}/messages/states")).status_code == 401


@pytest.mark.parametrize("root_path", ["/message", "/m", "/", "/messages/82216"])
async def test_no_root_path_of_the_server_opens_a_route(root_path: str) -> None:
    app = create_app(Settings.for_sandbox(api_keys=f"page:{KEY}"))
    transport = httpx.ASGITransport(app, root_path=root_path)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        assert (await client.get("/messages/82216/state")).status_code in {401, 404}


async def test_what_an_outer_application_notes_about_a_caller_opens_nothing() -> None:
    outer = mounted("/v1")

    @outer.middleware("http")
    async def note(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.caller = "somebody"
        return await call_next(request)

    transport = httpx.ASGITransport(outer)
    async with (
        outer.router.lifespan_context(outer),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        for _ in range(2):
            assert (await client.get("/v1/messages/82216/state")).status_code == 401
            answer = await client.get("/v1/messages/82216/state", headers={"X-API-Key": KEY})
            assert answer.status_code == 200
