"""What a user would write in an hour: FastAPI and one httpx client, one upstream request for each call."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import httpx
from fastapi import FastAPI, HTTPException, Path

from bench.peers.schemas import BatchReply, BatchRequest, MessageId, MessageState

URL = os.environ.get("UPSTREAM_URL", "")
TOKEN = os.environ.get("UPSTREAM_TOKEN", "")
ZONE = ZoneInfo("Europe/Moscow")
OUTCOMES = {
    "send": "pending",
    "partly_deliver": "pending",
    "deliver": "delivered",
    "read": "delivered",
    "not_deliver": "failed",
    "expired": "failed",
}
FINAL = {"read", "not_deliver", "expired"}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for all calls. With httpx's 5 s instead of 30 an overload would show as errors, not as waiting."""
    async with httpx.AsyncClient(timeout=30) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


async def ask(ids: list[int], detail: bool) -> list[MessageState]:
    """One request to the platform."""
    entries = [{"token": TOKEN, "id_sms": id_, "detail": int(detail)} for id_ in ids]
    reply = await app.state.client.post(URL, json=entries, headers={"Content-Type": "text/json; charset=utf-8"})
    if reply.status_code != 200:
        raise HTTPException(502, reply.text)
    return [message_state(entry) for entry in reply.json()]


def message_state(entry: dict[str, Any]) -> MessageState:
    """The platform's entry as public JSON."""
    state, time, price = entry["state"], entry["time_change_state"], entry.get("price")
    return MessageState.model_validate(
        {
            "id": entry["id_sms"],
            "state": state,
            "outcome": OUTCOMES.get(state, "unknown"),
            "final": state in FINAL,
            "changed_at": datetime.fromisoformat(time).replace(tzinfo=ZONE) if time else None,
            "parts": entry.get("num_parts"),
            "price_per_part": None if price is None else str(price),
        }
    )


@app.get("/messages/{id}/state")
async def get_message_state(id_: Annotated[MessageId, Path(alias="id")], detail: bool = False) -> MessageState:
    """One state."""
    states = await ask([id_], detail)
    if not states:
        raise HTTPException(404, "The platform does not know this message.")
    return states[0]


@app.post("/messages/states")
async def get_message_states(batch: BatchRequest) -> BatchReply:
    """Many states."""
    return BatchReply(states=await ask(batch.ids, batch.detail))
