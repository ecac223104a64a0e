"""``create_app``: the application that production serves and the tests ask."""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app import __version__
from app.api import docs, event_stream, health, messages, webhook
from app.api.access import Access, Callers
from app.api.access_log import AccessLog
from app.api.compression import Compression
from app.api.context import RootPath
from app.api.cors import Cors
from app.api.description import install_openapi
from app.api.problems import install_handlers
from app.api.request_context import EveryRequest, RequestContext
from app.api.shortcuts import Application, install_shortcut
from app.lookup.clock import Clock
from app.service import build_service
from app.settings import Settings
from app.settings.rotation import Secrets
from app.telemetry import tracing
from app.telemetry.log_writer import LogWriter
from app.upstream import sandbox
from app.upstream.transport import Transport


def create_app(
    settings: Settings,
    *,
    secrets: Secrets | None = None,
    transport: Transport | None = None,
    clock: Clock = time.monotonic,
    wall_clock: Clock = time.time,
    every_half_second: Callable[[], None] = lambda: None,
    jitter: Callable[[float, float], float] = random.uniform,
    output: LogWriter | None = None,
) -> Application:
    """The application for these settings; its service is ``app.state.service``.

    Nothing is opened before the lifespan starts. For the other parameters see ``build_service``.
    """
    service = build_service(
        settings,
        secrets=secrets,
        transport=transport,
        clock=clock,
        wall_clock=wall_clock,
        every_half_second=every_half_second,
        jitter=jitter,
        output=output,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.run():
            yield

    cors = Cors(settings.cors_origins) if settings.cors_origins else None
    every = EveryRequest(service.lifecycle, AccessLog(service.metrics), cors)
    app = Application(
        title="message-state-proxy",
        summary="What became of an SMS message",
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # ours, from local files
        redoc_url=None,
        telemetry={"logs": False, "metrics": False, "auto_configure": tracing.usable(), "exclude": webhook.is_webhook},
    )
    app.state.service = service
    for module in (messages, event_stream, webhook, health, docs):
        app.include_router(module.router)
    callers = Callers(
        service.secrets,
        settings.trusted_proxies,
        lambda: (route.path_format or "" for route in iter_route_contexts(app.routes)),
    )
    # The middleware, from the inside out; the last two stand before FastAPI.
    app.add_middleware(Access, callers)
    app.add_middleware(Compression)
    app.add_middleware(RequestContext, every)
    install_handlers(app)
    if not tracing.usable():
        install_shortcut(app, messages.get_message_state, callers, every)
    if settings.root_path:
        app.put_before(RootPath, root_path=settings.root_path)
    install_openapi(
        app,
        sandbox.rules() if settings.sandboxed else [],
        closed=service.secrets.api_keys is not None,
        root_path=settings.root_path or "",
    )
    return app
