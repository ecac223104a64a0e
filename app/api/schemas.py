"""The public JSON: its schemas, as callers and the OpenAPI document see it, and how a record is written as such."""

import json
from datetime import datetime
from itertools import islice
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from app.lookup.record import MAX_MESSAGE_ID, STATES, MessageRecord, Outcome, State

MAX_IDS = 1000
MAX_MISTAKES = 10
"""Mistakes that a problem document names."""
MAX_WATCHED = 100
"""Messages in one stream: about what fits into a URL that every proxy takes."""
MAX_WAIT = 50
"""Seconds: below the 60 s after which common ingresses end a request."""
EXAMPLE_ID = 82216

_STATE_WORDS = "; ".join(f"`{word}`: {state.meaning}" for word, state in STATES.items())


def _path_id(value: object) -> object:
    """An id as it may stand in a path: ASCII digits, no sign, no leading zero."""
    if not isinstance(value, str):
        return value
    if not (value.isascii() and value.isdigit()) or value[0] == "0" or len(value) > len(str(MAX_MESSAGE_ID)):
        raise PydanticCustomError(
            "message_id", f"must be a whole number from 1 to {MAX_MESSAGE_ID} in ASCII digits, without leading zero"
        )
    return int(value)


MessageId = Annotated[
    int,
    Field(
        ge=1,
        le=MAX_MESSAGE_ID,
        description="The number that the platform returned when the message was sent.",
        # Generators would else take 32 bits.
        json_schema_extra={"format": "int64"},
    ),
]
PathId = Annotated[MessageId, BeforeValidator(_path_id)]


def _distinct(ids: list[int]) -> list[int]:
    distinct = list(dict.fromkeys(ids))
    if not 1 <= len(distinct) <= MAX_WATCHED:
        raise PydanticCustomError("watched_ids", f"must be 1 to {MAX_WATCHED} different numbers")
    return distinct


StreamIds = Annotated[
    list[PathId],
    AfterValidator(_distinct),
    Field(json_schema_extra={"minItems": 1, "maxItems": MAX_WATCHED}),
]


def _wait_seconds(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) <= len(str(MAX_WAIT))):
        raise PydanticCustomError("wait_seconds", f"must be a whole number from 0 to {MAX_WAIT}")
    return value


WaitSeconds = Annotated[int, Field(ge=0, le=MAX_WAIT), BeforeValidator(_wait_seconds)]


def _may_be_absent(schema: dict[str, Any]) -> None:
    """A member that is left out where there is nothing to say: it has no default, and is never null."""
    schema.pop("default")


def _optional(description: str) -> Any:
    return Field(None, description=description, json_schema_extra=_may_be_absent)


class MessageState(BaseModel):
    """What became of one message."""

    id: MessageId
    state: str = Field(
        description="The platform's own word. Where it writes a documented one in another case, or says it in a word "
        "of SMPP's (`DELIVRD`), this is the documented one; a new word passes through verbatim. An open enumeration: "
        f"treat a word that you do not know by its `outcome`. Documented words: {_STATE_WORDS}",
        examples=list(STATES),
    )
    outcome: Outcome = Field(description="What a user interface branches on. A closed enumeration.")
    final: bool = Field(description="The platform says that this state never changes again.")
    changed_at: datetime | None = Field(
        description="When the state changed, RFC 3339 with the offset of the account's time zone; null where the "
        "platform gave no time."
    )
    parts: int | None = Field(description="Number of SMS parts; null unless `detail=true`.")
    price_per_part: str | None = Field(
        description="Price of one part as a decimal string with the platform's own digits; null unless "
        "`detail=true`. The platform names no currency.",
        pattern=r"^-?[0-9]+(\.[0-9]+)?$",
    )


class BatchRequest(BaseModel):
    """The messages whose states are wanted."""

    model_config = ConfigDict(strict=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _cut(cls, document: object) -> object:
        """Leave out mistakes that no answer would name: a body of 1 MiB holds a hundred thousand of them.

        What is left is refused for the same reasons. Telling every mistake took pydantic half a second.
        """
        if not isinstance(document, dict):
            return document
        unknown = islice((name for name in document if name not in cls.model_fields), MAX_MISTAKES)
        known = (name for name in cls.model_fields if name in document)
        cut = {name: document[name] for name in (*known, *unknown)}
        ids = cut.get("ids")
        if isinstance(ids, list) and len(ids) > MAX_IDS:
            cut["ids"] = ids[: MAX_IDS + 1]
        return cut

    ids: list[MessageId] = Field(
        min_length=1,
        max_length=MAX_IDS,
        description="1 to 1000 message numbers; duplicates are collapsed. "
        "Each is written without a fraction: `1.0` is refused, although JSON Schema takes it for an integer.",
    )
    detail: bool = Field(False, description="Whether the number of parts and the price per part are wanted as well.")


class FieldError(BaseModel):
    """One mistake in a request: where (`pointer` into the body, or the `parameter`'s name) and what."""

    pointer: str | SkipJsonSchema[None] = _optional("JSON Pointer into the body (RFC 6901).")
    parameter: str | SkipJsonSchema[None] = _optional("Name of the path or query parameter.")
    detail: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="`/problems/<slug>` on this service: resolves to an explanation.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path of the request.")
    request_id: str = Field(description="Also in `X-Request-ID`; names the request in the service's log.")
    errors: list[FieldError] | SkipJsonSchema[None] = _optional("What is wrong with the request, one by one.")
    upstream_message: str | SkipJsonSchema[None] = _optional("The platform's error text, where it gave one.")


class MessageProblem(BaseModel):
    """Why there is no state for one message of a batch."""

    id: MessageId
    type: str
    title: str
    status: int
    detail: str
    upstream_message: str | SkipJsonSchema[None] = _optional("The platform's error text, where it gave one.")


class BatchReply(BaseModel):
    """Each distinct id stands in exactly one of the two lists, each in the order of the request."""

    states: list[MessageState]
    problems: list[MessageProblem]


class ProblemExplanation(BaseModel):
    """A problem type explained."""

    type: str
    title: str
    status: int
    cause: str
    caller: str = Field(description="What the caller does about it.")
    operator: str = Field(description="What the operator does about it.")
    retry_after: bool = Field(description="Whether responses carry Retry-After.")


class Health(BaseModel):
    """The answer of a probe."""

    status: str


def json_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema for the OpenAPI document, with references into its components."""
    return model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def state_body(record: MessageRecord, detail: bool) -> bytes:
    """A record as the public JSON in UTF-8: always seven keys, parts and price only where detail is wanted.

    Written by hand: a dictionary first and the library's encoder after it cost five times as much.
    """
    state = _STATES.get(record.state) or _state(record.state, record.meaning)
    changed_at = f'"{record.changed_at.isoformat("T", "seconds")}"' if record.changed_at else "null"
    parts = "null" if record.parts is None or not detail else str(record.parts)
    price = "null" if record.price_per_part is None or not detail else f'"{record.price_per_part}"'
    return (f'{{"id":{record.id},{state},"changed_at":{changed_at},"parts":{parts},"price_per_part":{price}}}').encode()


def _state(word: str, meaning: State) -> str:
    shown, final = json.dumps(word, ensure_ascii=False), "true" if meaning.final else "false"
    return f'"state":{shown},"outcome":"{meaning.outcome.value}","final":{final}'


_STATES = {word: _state(word, meaning) for word, meaning in STATES.items()}


def dump(document: Any) -> bytes:
    """Compact JSON in UTF-8."""
    return _ENCODER.encode(document).encode()
