"""What a good developer writes in a day: FastAPI and httpx, batches by aiodataloader, a cache by cachetools.

Batches, requests at a time, lifetimes, the key and a line in the log for each request are as the service has them by
default. It leaves out the rest: deadlines, retries, a circuit breaker, bisection of refused batches, metrics, problems.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import httpx
from aiodataloader import DataLoader
from cachetools import TLRUCache
from fastapi import FastAPI, Header, HTTPException, Path, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.peers.plain import FINAL, OUTCOMES, ZONE
from bench.peers.schemas import BatchReply, BatchRequest, MessageId, MessageState

URL = os.environ.get("UPSTREAM_URL", "")
TOKEN = os.environ.get("UPSTREAM_TOKEN", "")
KEY = os.environ.get("API_KEY", "")
BATCH_SIZE = 100
MAX_IN_FLIGHT = 4
LIFETIMES = {"pending": 2.0, "delivered": 60.0}
FINAL_LIFETIME = 86400.0


class Answer:
    """A state with its body and tag, made once."""

    __slots__ = ("body", "lifetime", "state", "tag")

    def __init__(self, state: MessageState) -> None:
        self.state = state
        self.lifetime = FINAL_LIFETIME if state.final else LIFETIMES.get(state.outcome, 2.0)
        self.body = state.model_dump_json().encode()
        self.tag = f'"{hashlib.blake2b(self.body, digest_size=12).hexdigest()}"'


def expires(_id: int, answer: Answer, now: float) -> float:
    """When the cache forgets it."""
    return now + answer.lifetime


class States(DataLoader[int, Answer | None]):
    """Collects the ids that are asked for in one iteration of the event loop."""

    def __init__(self, client: httpx.AsyncClient, cache: TLRUCache[int, Answer]) -> None:
        super().__init__(max_batch_size=BATCH_SIZE, cache=False)
        self._client = client
        self._states = cache
        self._free = asyncio.Semaphore(MAX_IN_FLIGHT)

    async def batch_load_fn(self, keys: list[int]) -> list[Answer | None]:
        """One request to the platform."""
        entries = [{"token": TOKEN, "id_sms": id_, "detail": 0} for id_ in keys]
        async with self._free:
            reply = await self._client.post(URL, json=entries, headers={"Content-Type": "text/json; charset=utf-8"})
        reply.raise_for_status()
        found = {entry["id_sms"]: Answer(message_state(entry)) for entry in reply.json()}
        self._states.update(found)
        return [found.get(id_) for id_ in keys]


def message_state(entry: dict[str, Any]) -> MessageState:
    """The platform's entry as public JSON."""
    state, changed = entry["state"], entry["time_change_state"]
    return MessageState.model_validate(
        {
            "id": entry["id_sms"],
            "state": state,
            "outcome": OUTCOMES.get(state, "unknown"),
            "final": state in FINAL,
            "changed_at": datetime.fromisoformat(changed).replace(tzinfo=ZONE) if changed else None,
            "parts": None,
            "price_per_part": None,
        }
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client, one cache and one loader for all calls."""
    async with httpx.AsyncClient(timeout=30) as client:
        app.state.cache = TLRUCache(100_000, expires, timer=time.monotonic)
        app.state.states = States(client, app.state.cache)
        yield


app = FastAPI(lifespan=lifespan)


class Access:
    """Checks the caller's key, and writes one line of JSON to standard error for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As middleware."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        if Headers(scope=scope).get("x-api-key") == KEY:
            await self._app(scope, receive, noting)
        else:
            await Response(status_code=401)(scope, receive, noting)
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(time.perf_counter() - begun, 6),
        }
        print(json.dumps(line), file=sys.stderr)


app.add_middleware(Access)


async def answers(ids: list[int]) -> list[Answer | None]:
    """From the cache, else from the platform."""
    cache: TLRUCache[int, Answer] = app.state.cache
    states: States = app.state.states
    known = {id_: cache.get(id_) for id_ in ids}
    missing = [id_ for id_, answer in known.items() if answer is None]
    if missing:
        known |= dict(zip(missing, await states.load_many(missing), strict=True))
    return list(known.values())


@app.get("/messages/{id}/state")
async def get_message_state(
    id_: Annotated[MessageId, Path(alias="id")], if_none_match: Annotated[str | None, Header()] = None
) -> Response:
    """One state."""
    (answer,) = await answers([id_])
    if answer is None:
        raise HTTPException(404, "The platform does not know this message.")
    headers = {"ETag": answer.tag, "Cache-Control": f"private, max-age={answer.lifetime:.0f}"}
    if if_none_match == answer.tag:
        return Response(status_code=304, headers=headers)
    return Response(answer.body, media_type="application/json", headers=headers)


@app.post("/messages/states")
async def get_message_states(batch: BatchRequest) -> BatchReply:
    """Many states."""
    return BatchReply(states=[answer.state for answer in await answers(batch.ids) if answer is not None])
