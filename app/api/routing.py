"""A shorter way through FastAPI for the request that frontends send all day."""

import re

from fastapi import Request
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
