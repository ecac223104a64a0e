"""Wiring and lifespan, nothing else."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
from fastapi import FastAPI
from starlette.middleware import Middleware

from app import __version__
from app.api import docs, events, messages, operations, webhooks
from app.api.access import Access, Keys
from app.api.cors import Cors
from app.api.description import install_openapi
from app.api.middleware import BodyLimit, CrashGuard, RequestId
from app.api.observing import Observer
from app.api.operations import Lifecycle
from app.api.problems import install_handlers
from app.api.quotas import Quotas
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.news import News, Post
from app.lookup.cache.protocol import Cache, Lifetimes
from app.lookup.cache.shared import SharedCache
from app.lookup.engine import Engine
from app.lookup.resilience import Clock
from app.lookup.watching import Watching
from app.measures import engine_metrics, watching_metrics
from app.secrets import Secrets
from app.settings import Settings
from app.settings_loading import secrets_of
from app.telemetry import tracing
from app.telemetry.metrics import Metrics
from app.upstream import sandbox
from app.upstream.client import UpstreamClient
from app.upstream.credentials import Credentials
from app.upstream.webhook import WebhookReader

HOUSEKEEPING_SECONDS = 0.5


def create_app(
    settings: Settings,
    *,
    secrets: Secrets | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    clock: Clock = time.monotonic,
    housekeeping: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application for these settings.

    Nothing is opened before the lifespan starts. ``secrets`` are those of the settings where none are given;
    ``transport`` takes the place of the network towards the platform, ``clock`` that of the system's;
    ``housekeeping`` is called every half second while the service runs.
    """
    secrets = secrets or secrets_of(settings)
    lifecycle = Lifecycle()
    metrics = Metrics(__version__)
    keys = Keys(secrets.get("api_keys"))
    webhook_reader = WebhookReader(settings.timezone)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            client = _client(settings, secrets, transport, clock)
            stack.push_async_callback(client.aclose)
            lifetimes = Lifetimes(
                settings.pending_ttl, settings.delivered_ttl, settings.final_ttl, settings.not_found_ttl
            )
            memory = MemoryCache(clock, lifetimes, max_entries=settings.cache_max_entries)
            cache, store = await _cache(settings, memory, clock, lifetimes, metrics)
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
                **({"longest_lockout": sandbox.LOCKOUT_SECONDS} if settings.sandboxed else {}),
            )
            stack.push_async_callback(engine.batcher.abort)
            watching = Watching(engine, clock, lifetimes, max_waiters=settings.max_waiters)
            stack.push_async_callback(watching.aclose)
            if store is not None:
                news = News(store, memory, clock, lifetimes, watching.hear)
                engine.on_news = news.tell
                news.start()
                stack.push_async_callback(news.aclose)
            _rotate(secrets, engine, keys)
            engine.guard.observe = metrics.upstream_request
            metrics.read_at_scrape(engine_metrics(engine, memory, client, webhook_reader))
            metrics.read_at_scrape(watching_metrics(watching, webhook_reader))
            for background in (secrets.watch(), _keep_house(metrics, housekeeping)):
                stack.push_async_callback(_cancelled, asyncio.create_task(background))
            app.state.engine = engine
            app.state.watching = watching
            lifecycle.start()
            yield
            lifecycle.stop()

    app = FastAPI(
        title="message-state-proxy",
        summary="What became of an SMS message",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # ours, from local files
        redoc_url=None,
        telemetry={"logs": False, "metrics": False, "auto_configure": tracing.usable(), "exclude": webhooks.is_webhook},
        # From the outside in; everything that answers stands inside RequestId, so that every answer has an id.
        middleware=[
            Middleware(RequestId, lifecycle=lifecycle),
            Middleware(Observer, metrics=metrics),
            *([Middleware(Cors, settings.origins)] if settings.origins else []),
            Middleware(CrashGuard),
            Middleware(Access, keys, settings.proxies),
            Middleware(BodyLimit),
        ],
    )
    app.state.lifecycle = lifecycle
    app.state.metrics = metrics
    app.state.quotas = Quotas(clock, settings.rate_limit) if settings.rate_limit else None
    app.state.webhook_token = lambda: secrets.get("webhook_token")
    app.state.read_webhook = webhook_reader
    routers = (messages.state_router, *(room.router for room in (messages, events, webhooks, operations, docs)))
    # Not include_router: it would match every request twice, and the routers have their prefixes already. Before
    # FastAPI's own /openapi.json: routes are tried in order, and nearly every request is for the first.
    app.router.routes[:0] = [route for router in routers for route in router.routes]
    install_handlers(app)
    install_openapi(app, sandbox.rules() if settings.sandboxed else [])
    return app


async def _cache(
    settings: Settings, memory: MemoryCache, clock: Clock, lifetimes: Lifetimes, metrics: Metrics
) -> tuple[Cache, Post | None]:
    """The memory alone, or a shared store behind it, and that store, which the start does not wait for in vain."""
    url = settings.shared_cache_url
    if url is None:
        return memory, None
    from app.lookup.cache.redis import RedisStore  # noqa: PLC0415 - redis-py is an extra

    store = RedisStore(url, settings.cache_prefix, settings.upstream_url, clock, lifetimes)
    store.observe = metrics.cache_request
    await store.connect()
    return SharedCache(memory, store), store


def _rotate(secrets: Secrets, engine: Engine, keys: Keys) -> None:
    """A new secret of the platform gets its try at once; a rejected one makes us look for a new one."""

    def changed(names: Collection[str]) -> None:
        if any(name.startswith("upstream_") for name in names):
            engine.credentials_changed()
        if "api_keys" in names:
            keys.replace(secrets.get("api_keys"))

    secrets.on_change(changed)
    engine.guard.renew = lambda: secrets.refresh("upstream_", at_once=True)


async def _keep_house(metrics: Metrics, housekeeping: Callable[[], None]) -> None:
    """What has to happen now and then; how late the loop wakes us tells how busy it is."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + HOUSEKEEPING_SECONDS
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        metrics.loop_delay(max(0.0, loop.time() - due))
        housekeeping()


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End a task of the background and wait until it is gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def credentials_of(settings: Settings, secrets: Secrets) -> Credentials:
    """What the secrets say about the account; the sandbox needs nothing but its own."""
    if settings.sandboxed:
        return Credentials({"token": sandbox.TOKEN})
    return Credentials.choose(
        *(secrets.get(name) for name in ("upstream_token", "upstream_login", "upstream_password"))
    )


def _client(
    settings: Settings, secrets: Secrets, transport: httpx.AsyncBaseTransport | None, clock: Clock
) -> UpstreamClient:
    if settings.sandboxed and transport is None:
        transport = httpx.ASGITransport(sandbox.Sandbox())
    return UpstreamClient(
        sandbox.URL if settings.sandboxed else settings.upstream_url,
        lambda: credentials_of(settings, secrets),
        settings.timezone,
        connect_timeout=settings.upstream_connect_timeout,
        attempt_timeout=settings.upstream_attempt_timeout,
        transport=transport,
        clock=clock,
    )
