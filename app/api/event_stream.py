"""Server-sent events: one stream for the states of many messages (HTML standard, section 9.2)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.context import service_of
from app.api.problems import failure_entry, failure_problem, responses
from app.api.quotas import over_quota
from app.api.render import dump, state_body
from app.api.request_context import DeferredResponse, is_head
from app.api.schemas import EXAMPLE_ID, MAX_WATCHED, StreamIds
from app.lookup.failures import Overloaded
from app.lookup.record import MessageRecord
from app.lookup.subscriptions import Snapshot, Subscription
from app.lookup.watcher import Watcher

COMMENT_SECONDS = 15.0
"""Shorter than any proxy's patience with a silent connection."""
RETRY_MS = (1000, 5000)
"""When a caller is to come back, at the earliest and at the latest: not all callers of a replica at once."""

# Ingresses gather what they pass on, and development servers compress it, unless they are told not to
# (X-Accel-Buffering is nginx's).
_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_COMMENT = b": still here\n\n"
# Without data a browser would not show the event to the page.
_END = b"event: end\nid: end\ndata: {}\n\n"

_CONTENT = {
    # OpenAPI 3.1 can describe one event's data, but not a stream of them.
    "schema": {
        "description": "The data of one event, as JSON: of a `state` event, or of a `problem` event. The data of the "
        "`end` event is an empty object.",
        "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("MessageState", "MessageProblem")],
    },
}

router = APIRouter(prefix="/messages", tags=["Messages"])


@router.get(
    "/states/events",
    operation_id="streamMessageStates",
    summary="What becomes of many messages, as it happens",
    description=f"Server-sent events for 1 to {MAX_WATCHED} messages. A `state` event for each message at the start "
    "and for each change; its data is the JSON of a single lookup. A `problem` event for a message without an answer; "
    "its data is like an entry of a batch's `problems`. When all messages are final or unknown comes an `end` event "
    "with the id `end`, and the stream closes; whoever reconnects with `Last-Event-ID: end` gets a 204, which tells an "
    "`EventSource` to stop. A comment every 15 s keeps the connection open. Where the service asks for a key, read "
    "the stream with `fetch`: an `EventSource` cannot send one.",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The stream.",
            "content": {"text/event-stream": _CONTENT},
        },
        204: {"description": "The stream has come to its end."},
        **responses("invalid-request", "unauthenticated", "rate-limited", "overloaded"),
    },
)
async def stream_message_states(
    request: Request,
    ids: Annotated[
        StreamIds,
        Query(
            alias="id",
            description=f"A message's number; repeated, for 1 to {MAX_WATCHED} messages.",
            examples=[[EXAMPLE_ID]],
        ),
    ],
    detail: Annotated[
        bool, Query(description="Whether the number of parts and the price per part are wanted as well.")
    ] = False,
    last_event_id: Annotated[
        str, Header(alias="Last-Event-ID", description="The last event's id: `end`, or nothing.")
    ] = "",
) -> Response:
    """The stream, or why there is none."""
    if last_event_id == "end":
        return Response(status_code=204, headers={"Cache-Control": "no-store"})
    refusal = over_quota(request, len(ids))
    if refusal is not None:
        return refusal
    if is_head(request.scope):
        return StreamingResponse(iter(()), headers=_HEADERS, media_type=_Stream.media_type)
    service = service_of(request)
    watcher = service.watcher
    try:
        subscription = watcher.subscribe(ids, detail, request.state.caller)
    except Overloaded as failure:
        return failure_problem(request.scope, ids[0], failure)
    return DeferredResponse(_Stream(watcher, subscription, request.scope, service.jitter))


class _Stream(StreamingResponse):
    """Lets go of its subscription however it ends, before its first byte as well."""

    media_type = "text/event-stream"

    def __init__(
        self, watcher: Watcher, subscription: Subscription, scope: Scope, jitter: Callable[[float, float], float]
    ) -> None:
        super().__init__(_events(watcher, subscription, scope, jitter), headers=_HEADERS)
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the caller leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._subscription.close()


async def _events(
    watcher: Watcher, subscription: Subscription, scope: Scope, jitter: Callable[[float, float], float]
) -> AsyncIterator[bytes]:
    clock = asyncio.get_running_loop().time
    ids, detail = subscription.ids, subscription.detail
    told: dict[int, bytes] = {}
    await watcher.look_up(ids, detail, caller=subscription.caller)
    news: Iterable[int] = ids
    comment_at = clock() + COMMENT_SECONDS
    while True:
        await watcher.complete(subscription, news)
        if subscription.revoked:
            return
        fresh = {id_: _event(scope, id_, watcher.snapshot(id_), subscription) for id_ in news}
        changed = {id_: event for id_, event in fresh.items() if event and event != told.get(id_)}
        told |= changed
        if changed:
            yield b"".join(changed.values())
        if all(watcher.snapshot(id_).settled and watcher.snapshot(id_).serves(detail) for id_ in ids):
            yield _END
            return
        news = await subscription.changes(comment_at - clock())
        if subscription.over and not news and not subscription.revoked:
            yield b"retry: %d\n\n" % jitter(*RETRY_MS)
            return
        if clock() >= comment_at:
            comment_at = clock() + COMMENT_SECONDS
            yield _COMMENT


def _event(scope: Scope, id_: int, view: Snapshot, subscription: Subscription) -> bytes:
    """What to send for a message now; nothing where nothing is known yet."""
    if isinstance(view.answer, MessageRecord):
        if not view.serves(subscription.detail):
            return b""
        return b"event: state\ndata: " + state_body(view.answer, subscription.detail) + b"\n\n"
    failure = view.answer or view.failure
    # Only this replica stops: the next one knows the message, or asks for it.
    if failure is None or (subscription.over and isinstance(failure, Overloaded)):
        return b""
    return b"event: problem\ndata: " + dump(failure_entry(scope, id_, failure)) + b"\n\n"
