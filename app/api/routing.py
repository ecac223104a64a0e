"""The routes of lookups: a shorter way through FastAPI for what frontends ask all day, and none for hopeless bodies."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app.lookup.record import MAX_MESSAGE_ID

_PLAIN_ID = re.compile(r"[1-9][0-9]{0,15}")
_PLAIN_QUERIES = {b"": False, b"detail=false": False, b"detail=true": True}


class StateRoute(APIRoute):
    """The route of one message's state: reads a well-formed request by itself, leaves every other to FastAPI.

    To solve and validate two parameters, and to hold the stacks of dependencies that this route does not have, takes
    a third of the CPU of a cached answer (``docs/performance.md``). The endpoint, its declared parameters and what
    they refuse are the same either way.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette's extension point: what to do with a request whose path is this route's."""
        detail = _PLAIN_QUERIES.get(scope["query_string"])
        text: str = scope["path_params"]["id"]
        if detail is None or scope["method"] != "GET" or not _PLAIN_ID.fullmatch(text) or int(text) > MAX_MESSAGE_ID:
            await super().handle(scope, receive, send)
            return
        response = await self.endpoint(Request(scope, receive, send), int(text), detail)
        await response(scope, receive, send)


MAX_NAMES = 1000
"""Names and brackets in a batch's body. It has two names and two pairs of brackets."""
MAX_PARTS = 50_000
"""Commas in a batch's body. Fewer than 1000 separate its ids."""


class _BatchRequest(Request):
    """Reads no JSON that could only be refused: 1 MiB of unknown keys would keep others waiting for 60 ms."""

    async def json(self) -> Any:
        """The body, parsed. Raises HTTPException for one that has too many parts, and ValueError for other texts."""
        body = await self.body()
        if body.count(b":") + body.count(b"[") + body.count(b"{") > MAX_NAMES or body.count(b",") > MAX_PARTS:
            raise HTTPException(422, "The body has far more parts than a list of 1000 ids and the key detail.")
        return await super().json()


class BatchRoute(APIRoute):
    """The route of the batch, with requests of its own (FastAPI's "Custom Request and APIRoute class")."""

    def get_route_handler(self) -> Callable[[Request], Awaitable[Response]]:  # type: ignore[override]  # it is awaited
        """FastAPI's extension point: what to do with a request."""
        handle = super().get_route_handler()

        async def handle_batch(request: Request) -> Response:
            return await handle(_BatchRequest(request.scope, request.receive))

        return handle_batch
