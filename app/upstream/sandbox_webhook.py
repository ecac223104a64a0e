"""The sandbox's webhook: posts what has changed, and repeats what is not acknowledged, as the platform does.

``docs/upstream.md``, "Webhook": five times in all, then it is given up.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping
from types import TracebackType
from typing import Any

import httpx

ATTEMPTS = 5
LOOK_SECONDS = 0.25
REPEAT_SECONDS = 2.0
ANSWER_SECONDS = 5.0

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

Progress = Callable[[], Mapping[int, tuple[str, str]]]
"""The messages that change with time: each with its state and the time of its last change."""

log = logging.getLogger(__name__)


class Webhook:
    """Posts changes to ``url`` while it is entered (``async with``)."""

    def __init__(self, url: str, progress: Progress, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._progress = progress
        self._http = httpx.AsyncClient(transport=transport, timeout=ANSWER_SECONDS, trust_env=False)
        self._told: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.posts = 0
        self.given_up = 0

    async def __aenter__(self) -> "Webhook":
        self._start(self._look())
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look(self) -> None:
        while True:
            changed = {id_: now for id_, now in self._progress().items() if self._told.get(id_) != now[0]}
            self._told |= {id_: state for id_, (state, _) in changed.items()}
            if changed:
                self._start(self._deliver(changed))
            await asyncio.sleep(LOOK_SECONDS)

    async def _deliver(self, changed: Mapping[int, tuple[str, str]]) -> None:
        left = dict(changed)
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(REPEAT_SECONDS)
            for id_ in await self._post(left):
                left.pop(id_, None)
            if not left:
                return
        self.given_up += len(left)
        log.warning("the webhook did not take %d entries", len(left))

    async def _post(self, entries: Mapping[int, tuple[str, str]]) -> set[int]:
        """Post entries. Returns the ids that were taken."""
        self.posts += 1
        body = json.dumps(
            [{"id_sms": str(id_), "time": when, "state": state} for id_, (state, when) in entries.items()]
        )
        with contextlib.suppress(httpx.HTTPError, ValueError, TypeError, KeyError):
            answer = await self._http.post(self._url, content=body, headers={"Content-Type": "application/json"})
            return {int(each["id_sms"]) for each in answer.json()}
        return set()


class WithWebhook:
    """An ASGI application whose webhook posts as long as it is served."""

    def __init__(self, app: Application, webhook: Webhook) -> None:
        self._app = app
        self._webhook = webhook

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or live as long as the server."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        async with self._webhook:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
