"""The public JSON of both peers: the same fields and types as the service's own."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

MessageId = Annotated[int, Field(ge=1, le=2**53 - 1)]


class MessageState(BaseModel):
    """What became of one message."""

    id: MessageId
    state: str
    outcome: Literal["pending", "delivered", "failed", "unknown"]
    final: bool
    changed_at: datetime | None
    parts: int | None
    price_per_part: str | None


class BatchRequest(BaseModel):
    """The messages whose states are wanted."""

    ids: Annotated[list[MessageId], Field(min_length=1, max_length=1000)]
    detail: bool = False


class BatchReply(BaseModel):
    """Their states."""

    states: list[MessageState]
