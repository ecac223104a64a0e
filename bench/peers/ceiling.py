"""The ceiling: FastAPI with the same parameters and response model, answering a constant. Nothing asks a platform."""

from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Path

from bench.peers.schemas import BatchReply, BatchRequest, MessageId, MessageState

app = FastAPI()
CHANGED_AT = datetime.fromisoformat("2021-04-26T15:15:03+03:00")


def constant(id_: int, detail: bool) -> MessageState:
    """The documented example for any id."""
    return MessageState(
        id=id_,
        state="deliver",
        outcome="delivered",
        final=False,
        changed_at=CHANGED_AT,
        parts=1 if detail else None,
        price_per_part="10.6000000" if detail else None,
    )


@app.get("/messages/{id}/state")
async def get_message_state(id_: Annotated[MessageId, Path(alias="id")], detail: bool = False) -> MessageState:
    """One state."""
    return constant(id_, detail)


@app.post("/messages/states")
async def get_message_states(batch: BatchRequest) -> BatchReply:
    """Many states."""
    return BatchReply(states=[constant(id_, batch.detail) for id_ in batch.ids])
