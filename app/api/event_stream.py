"""Server-sent events: one stream for the states of many messages (HTML standard, section 9.2)."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.access import over_quota
from app.api.context import caller_of, is_head, service_of
from app.api.problems import failure_entry, failure_problem, responses
from app.api.request_context import DeferredResponse
from app.api.schemas import EXAMPLE_ID, MAX_WATCHED, StreamIds, dump, state_body
from app.lookup.failures import Overloaded
from app.lookup.record import Answer, MessageRecord
from app.lookup.subscriptions import Subscription
from app.lookup.watcher import Watcher

COMMENT_SECONDS = 15.0
"""Shorter than any proxy's patience with a silent connection."""
RETRY_MS = (1000, 5000)
"""When a caller is to come back, at the earliest and at the latest: not all callers of a replica at once."""

# Ingresses gather what they pass on, and development servers compress it, unless they are told not to
# (X-Accel-Buffering is nginx's).
_HEADERS = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
_MEDIA_TYPE = "text/event-stream"
_RAW_HEADERS = StreamingResponse(iter(()), headers=_HEADERS, media_type=_MEDIA_TYPE).raw_headers
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
    service = service_of(request)
    refusal = None if service.quotas is None else over_quota(request, service.quotas, len(ids))
    if refusal is not None:
        return refusal
    if is_head(request.scope):
        return StreamingResponse(iter(()), headers=_HEADERS, media_type=_MEDIA_TYPE)
    try:
        subscription = service.watcher.subscribe(ids, detail, caller_of(request.scope))
    except Overloaded as failure:
        return failure_problem(request.scope, ids[0], failure)
    return DeferredResponse(_Stream(service.watcher, subscription, service.jitter))


class _Stream:
    """One caller's stream. It lets go of its subscription however it ends, before its first byte as well.

    While nothing changes, all that it keeps beside the subscription is what it has told: the answers themselves, which
    all who wait for a message share, and not the events made of them.
    """

    __slots__ = ("_gone", "_jitter", "_sent", "_subscription", "_watcher")

    def __init__(self, watcher: Watcher, subscription: Subscription, jitter: Callable[[float, float], float]) -> None:
        self._watcher = watcher
        self._subscription = subscription
        self._jitter = jitter
        self._sent: dict[int, Answer] = {}
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the caller leaves."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in a task
        leaving = asyncio.create_task(self._cancel_when_gone(receive, task))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS})
            await self._events(scope, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not self._gone:
                raise
            task.uncancel()
        finally:
            leaving.cancel()
            self._subscription.close()

    async def _cancel_when_gone(self, receive: Receive, task: asyncio.Task[None]) -> None:
        """Let go of a caller that hangs up, with what is being looked up for it."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        task.cancel()

    async def _events(self, scope: Scope, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        watcher, subscription = self._watcher, self._subscription
        comment_at = clock() + COMMENT_SECONDS
        await watcher.begin(subscription)
        pending: Iterable[int] = subscription.ids
        while True:
            await watcher.complete(subscription, pending)
            if subscription.revoked:
                return
            await _send_some(send, self._changed(scope, pending))
            if all(self._is_settled(id_) for id_ in subscription.ids):
                await _send_some(send, _END)
                return
            pending = await subscription.changes(comment_at - clock())
            if subscription.over and not pending and not subscription.revoked:
                await _send_some(send, b"retry: %d\n\n" % self._jitter(*RETRY_MS))
                return
            if clock() >= comment_at:
                comment_at = clock() + COMMENT_SECONDS
                await _send_some(send, _COMMENT)

    def _changed(self, scope: Scope, ids: Iterable[int]) -> bytes:
        """The events for those of the messages whose event is another one than the last."""
        events = []
        for id_ in ids:
            answer = self._sendable(id_)
            sent = self._sent.get(id_)
            if answer is None or answer is sent:
                continue
            self._sent[id_] = answer
            event = self._event(scope, id_, answer)
            if sent is None or event != self._event(scope, id_, sent):
                events.append(event)
        return b"".join(events)

    def _sendable(self, id_: int) -> Answer | None:
        """What to send of a message now; None where nothing is known yet."""
        snapshot = self._watcher.snapshot(id_)
        if isinstance(snapshot.answer, MessageRecord):
            return snapshot.answer if snapshot.serves(self._subscription.detail) else None
        failure = snapshot.answer or snapshot.failure
        # Only this replica stops: the next one knows the message, or asks for it.
        return None if self._subscription.over and isinstance(failure, Overloaded) else failure

    def _event(self, scope: Scope, id_: int, answer: Answer) -> bytes:
        if isinstance(answer, MessageRecord):
            return b"event: state\ndata: " + state_body(answer, self._subscription.detail) + b"\n\n"
        return b"event: problem\ndata: " + dump(failure_entry(scope, id_, answer)) + b"\n\n"

    def _is_settled(self, id_: int) -> bool:
        snapshot = self._watcher.snapshot(id_)
        return snapshot.settled and snapshot.serves(self._subscription.detail)


async def _send_some(send: Send, events: bytes) -> None:
    if events:
        await send({"type": "http.response.body", "body": events, "more_body": True})
