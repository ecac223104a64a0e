"""The service on virtual time, with callers that wait, listen and leave."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from starlette.types import Message

from app.lookup.clock import Clock
from app.lookup.engine import Engine
from app.lookup.subscriptions import Subscriptions
from app.lookup.watcher import Watcher
from app.main import create_app
from app.settings.rotation import Secrets
from tests.support.lookup import LIFETIMES, PlatformInMemory, engine_before
from tests.support.platform import FakePlatform
from tests.support.service import settings_for
from tests.support.virtual_time import loop

WEBHOOK_TOKEN = "planted-hook-91c2d4e8"
WEBHOOK = f"/webhooks/message-states/{WEBHOOK_TOKEN}"


def watcher_before(platform: PlatformInMemory, **options: Any) -> tuple[Engine, Watcher]:
    """An engine and a watcher, on the running loop's time."""
    lifetimes = options.setdefault("lifetimes", LIFETIMES)
    subscriptions = Subscriptions(loop().time, max_waiters=options.pop("max_waiters", 10_000))
    engine = engine_before(platform, on_update=subscriptions.on_update, watching=subscriptions.callers, **options)
    return engine, Watcher(engine, subscriptions, loop().time, lifetimes)


@dataclass
class Listener:
    """One request, straight to the application: its response as it comes, and a way to hang up."""

    app: FastAPI
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 0
    answer_headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[tuple[float, bytes]] = field(default_factory=list)

    def start(self) -> "Listener":
        """Send the request."""
        self._gone = asyncio.Event()
        self.task = asyncio.create_task(self._run())
        return self

    async def hang_up(self) -> None:
        """Leave, as a closed tab does, and wait until the application has noticed."""
        self._gone.set()
        await self.task

    @property
    def events(self) -> list[tuple[str, Any]]:
        """The events so far: name and data."""
        return [(name, data) for _, name, data in self.timed_events]

    @property
    def timed_events(self) -> list[tuple[float, str, Any]]:
        """The events so far, each with its second."""
        found = []
        for at, chunk in self.chunks:
            for block in chunk.decode().split("\n\n"):
                fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
                if "event" in fields:
                    found.append((at, fields["event"], json.loads(fields["data"])))
        return found

    async def _run(self) -> None:
        path, _, query = self.path.partition("?")
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in self.headers.items()],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.answer_headers = {name.decode(): value.decode() for name, value in message["headers"]}
            elif message.get("body"):
                self.body += message["body"]
                self.chunks.append((loop().time(), message["body"]))

        await self.app(self.scope, receive, send)


@dataclass
class Stage:
    """The service, a client of it, and its hub."""

    app: FastAPI
    client: httpx.AsyncClient

    @property
    def watching(self) -> Watcher:
        watching: Watcher = self.app.state.service.watcher
        return watching

    def listen(self, path: str, **headers: str) -> Listener:
        """A request whose answer takes its time."""
        return Listener(self.app, path, {name.replace("_", "-"): value for name, value in headers.items()}).start()

    async def wait(self, id_: int, seconds: int = 25, **headers: str) -> tuple[httpx.Response, float]:
        """A long poll: the answer, and how long it took."""
        started = loop().time()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.get(f"/messages/{id_}/state?wait={seconds}", headers=named)
        return response, loop().time() - started

    async def webhook(self, *entries: object, path: str = WEBHOOK) -> httpx.Response:
        """What the platform posts."""
        return await self.client.post(path, content=json.dumps(entries))


@asynccontextmanager
async def stage(
    platform: FakePlatform,
    *,
    secrets: Secrets | None = None,
    jitter: Callable[[float, float], float] = random.uniform,
    wall_clock: Clock = time.time,
    **overrides: Any,
) -> AsyncIterator[Stage]:
    """The service before a fake platform, on virtual time, with a webhook. The wall clock is another one."""
    settings = settings_for(webhook_token=WEBHOOK_TOKEN, **overrides)
    app = create_app(
        settings,
        secrets=secrets,
        transport=platform.transport(),
        clock=loop().time,
        wall_clock=wall_clock,
        jitter=jitter,
    )
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", timeout=None) as client,
    ):
        yield Stage(app, client)
        assert app.state.service.watcher.subscriptions.waiters == 0
        assert len(app.state.service.watcher.subscriptions) == 0
