"""How much of a request's body is read: its bytes, and for a batch what its JSON may consist of."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope

from app.api.problems import CallerLeft

MAX_BODY_BYTES = 1024 * 1024
MAX_NAMES = 1000
"""Names and brackets in a batch's body. It has two names and two pairs of brackets."""
MAX_PARTS = 50_000
"""Commas in a batch's body. Fewer than 1000 separate its ids."""


class RequestTooLarge(HTTPException):
    """The body is over the limit."""

    def __init__(self) -> None:
        super().__init__(413)


def limited(scope: Scope, receive: Receive) -> Receive:
    """Reads at most ``MAX_BODY_BYTES``; refused when it is read, so that a wrong path or method is told first.

    It raises RequestTooLarge, and CallerLeft where the body does not come to its end.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    too_large = declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES
    received, complete = 0, False

    async def receive_limited() -> Message:
        nonlocal received, complete
        if too_large:
            raise RequestTooLarge
        message = await receive()
        if message["type"] == "http.disconnect" and not complete:
            raise CallerLeft
        complete = not message.get("more_body", False)
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise RequestTooLarge
        return message

    return receive_limited


class _BatchRequest(Request):
    """Reads no JSON that could only be refused: 1 MiB of unknown keys would keep others waiting for 60 ms."""

    async def json(self) -> Any:
        """The body, parsed. Raises HTTPException for one that has too many parts, and ValueError for other texts."""
        body = await self.body()
        if body.count(b":") + body.count(b"[") + body.count(b"{") > MAX_NAMES or body.count(b",") > MAX_PARTS:
            raise HTTPException(422, "The body has far more parts than a list of 1000 ids and the key detail.")
        return await super().json()


class BatchRoute(APIRoute):
    """A route whose bodies are JSON of a bounded number of parts (FastAPI's "Custom Request and APIRoute class")."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # it is awaited
        """FastAPI's extension point: what to do with a request."""
        handle = super().get_route_handler()

        async def handle_batch(request: Request) -> Response:
            return await handle(_BatchRequest(request.scope, request.receive))

        return handle_batch
