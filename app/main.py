"""Wiring and lifespan, nothing else."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.api import docs, messages, operations
from app.api.description import install_openapi
from app.api.middleware import BodyLimit, CrashGuard, RequestId
from app.api.operations import Lifecycle
from app.api.problems import install_handlers
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.protocol import Lifetimes
from app.lookup.engine import Engine
from app.lookup.resilience import Clock
from app.settings import Settings
from app.upstream import sandbox
from app.upstream.client import UpstreamClient
from app.upstream.credentials import Credentials


def create_app(
    settings: Settings, *, transport: httpx.AsyncBaseTransport | None = None, clock: Clock = time.monotonic
) -> FastAPI:
    """The application for these settings.

    Nothing is opened before the lifespan starts. ``transport`` takes the place of the network towards the platform,
    ``clock`` that of the system's.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            client = _client(settings, transport)
            stack.push_async_callback(client.aclose)
            lifetimes = Lifetimes(
                settings.pending_ttl, settings.delivered_ttl, settings.final_ttl, settings.not_found_ttl
            )
            cache = MemoryCache(clock, lifetimes, max_entries=settings.cache_max_entries)
            stack.push_async_callback(cache.aclose)
            engine = Engine(
                client,
                cache,
                clock,
                lifetimes,
                batch_size=settings.upstream_batch_size,
                max_in_flight=settings.upstream_max_in_flight,
                attempt_timeout=settings.upstream_attempt_timeout,
                deadline=settings.request_deadline,
                max_queued=settings.max_queued_ids,
            )
            stack.push_async_callback(engine.batcher.abort)
            app.state.engine = engine
            app.state.lifecycle.ready = True
            yield
            app.state.lifecycle.ready = False

    app = FastAPI(
        title="message-state-proxy",
        summary="What became of an SMS message",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        telemetry={"logs": False},
        # From the outside in; everything that answers stands inside RequestId, so that every answer has an id.
        middleware=[Middleware(RequestId), Middleware(CrashGuard), Middleware(BodyLimit)],
    )
    app.state.lifecycle = Lifecycle()
    for room in (messages, operations, docs):
        app.include_router(room.router)
    install_handlers(app)
    install_openapi(app, sandbox.rules())
    return app


def credentials_of(settings: Settings) -> Credentials:
    """What the settings say about the account; the sandbox needs nothing but its own."""
    if settings.sandboxed:
        return Credentials({"token": sandbox.TOKEN})
    return Credentials.choose(
        *(
            secret.get_secret_value() if secret else None
            for secret in (settings.upstream_token, settings.upstream_login, settings.upstream_password)
        )
    )


def _client(settings: Settings, transport: httpx.AsyncBaseTransport | None) -> UpstreamClient:
    credentials = credentials_of(settings)
    if settings.sandboxed and transport is None:
        transport = httpx.ASGITransport(sandbox.Sandbox())
    return UpstreamClient(
        sandbox.URL if settings.sandboxed else settings.upstream_url,
        lambda: credentials,
        settings.timezone,
        connect_timeout=settings.upstream_connect_timeout,
        attempt_timeout=settings.upstream_attempt_timeout,
        max_in_flight=settings.upstream_max_in_flight,
        transport=transport,
    )
