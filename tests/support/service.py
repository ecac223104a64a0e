"""The service in process: the application with its lifespan entered, behind an HTTP client."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.lookup.clock import Clock
from app.main import create_app
from app.service import Service
from app.settings import Settings
from app.settings.rotation import Secrets
from tests.support.platform import TOKEN, URL, FakePlatform


def settings_for(url: str = URL, **overrides: Any) -> Settings:
    """Settings that lead to a fake platform, independent of the environment."""
    credentials = {} if {"upstream_login", "upstream_password"} & overrides.keys() else {"upstream_token": TOKEN}
    return Settings.for_sandbox(upstream_url=url, **credentials, **overrides)


def secrets_in(folder: Path, *from_files: str, **values: Any) -> Secrets:
    """Secrets with these values in force, of which files in the folder may change those that are named."""
    return Secrets(Settings.for_sandbox(secrets_dir=str(folder), **values), from_files)


@asynccontextmanager
async def service(
    platform: FakePlatform | None = None,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    secrets: Secrets | None = None,
    clock: Clock = time.monotonic,
    caller: str = "127.0.0.1",
    **overrides: Any,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the running service; without a platform or transport it uses the built-in sandbox.

    ``caller`` is the address that the client's connection comes from.
    """
    if platform is not None:
        transport = platform.transport()
    settings = settings_for(**overrides) if transport is not None else Settings.for_sandbox(**overrides)
    app = create_app(settings, secrets=secrets, transport=transport, clock=clock)
    inside = httpx.ASGITransport(app, client=(caller, 40000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=inside, base_url="http://service") as client,
    ):
        yield client


def service_behind(client: httpx.AsyncClient) -> Service:
    """What answers a client of ``service``."""
    running: Service = client._transport.app.state.service  # type: ignore[attr-defined]  # the transport holds our app
    return running


def assert_problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is the whole problem document of this type, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["title"]
    assert document["detail"]
    assert document["instance"].startswith("/")
    optional = {"errors", "upstream_message"}
    assert document.keys() - optional == {"type", "title", "status", "detail", "instance", "request_id"}
    return document
