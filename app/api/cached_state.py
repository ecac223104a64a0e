"""A shortcut past FastAPI for what frontends ask all day: a state that is in memory, by a plain GET.

``CachedState`` stands before everything else. What it cannot answer at once, and byte for byte as the ordinary way
would, it hands on. What it gains and relies on: ``docs/decisions/0013-shortcuts-past-the-frameworks.md``.
"""

import re
from collections.abc import Awaitable, Callable
from time import perf_counter, time
from typing import TYPE_CHECKING, cast

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access import Callers
from app.api.access_log import Ended
from app.api.caching import Header, StateContent, wants_fresh
from app.api.request_context import EveryRequest
from app.api.schemas import state_body
from app.lookup.record import MAX_MESSAGE_ID, MessageRecord

if TYPE_CHECKING:  # ``service`` stands above this package and builds it
    from app.service import Service

KEPT = 4096
"""States whose bodies and headers are kept while they stay: about 1 KB each."""

_Answer = tuple[int, bytes, list[Header]]

_DETAIL = {b"": False, b"detail=false": False, b"detail=true": True}


class CachedState:
    """Answers a plain GET of a state from memory; leaves every other request to the application inside.

    ``path`` is the template of the route, with ``{id}``.
    """

    def __init__(self, app: ASGIApp, path: str, service: "Service", callers: Callers, every: EveryRequest) -> None:
        self._app = app
        self._route = path
        before, after = map(re.escape, path.split("{id}"))
        self._path = re.compile(f"{before}([1-9][0-9]{{0,15}}){after}")
        self._engine = service.engine
        self._quotas = service.quotas
        self._callers = callers
        self._every = every
        self._contents: dict[tuple[int, bool], tuple[MessageRecord, StateContent]] = {}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Handle one request."""
        started = perf_counter()
        answer = self._answer(scope)
        return self._app(scope, receive, send) if answer is None else self._send(scope, send, answer, started)

    async def _send(self, scope: Scope, send: Send, answer: _Answer, started: float) -> None:
        status, body, headers = answer
        state = scope["state"]
        try:
            start = {"type": "http.response.start", "status": status, "headers": self._every.headers(scope, headers)}
            state["status"] = status
            await send(start)
            await send({"type": "http.response.body", "body": body})
        finally:
            self._every.access_log.end(Ended(scope, perf_counter() - started, None, time()))

    def _answer(self, scope: Scope) -> _Answer | None:
        """Status, body and headers, where nothing has to be asked, waited for, or refused."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        detail = _DETAIL.get(scope["query_string"])
        found = self._path.fullmatch(scope["path"])
        if found is None or detail is None:
            return None
        id_ = int(found[1])
        state = scope.setdefault("state", {})
        if id_ > MAX_MESSAGE_ID or "refusal" in state or wants_fresh(scope) or not self._callers.identify(scope):
            return None
        quotas = self._quotas
        if quotas is not None and not quotas.has(state["caller"].identity, 1):
            return None
        result = self._engine.at_hand(id_, detail)
        if result is None:
            return None
        if quotas is not None:
            quotas.take(state["caller"].identity, 1)
        state["route"] = self._route
        state["results"] = {id_: result}
        answer = self._content(cast(MessageRecord, result.answer), detail, result.lifetime).answer(
            scope, result.age, hit=True
        )
        state["request_id"] = self._every.request_id(scope)
        return answer

    def _content(self, record: MessageRecord, detail: bool, lifetime: float) -> StateContent:
        kept = self._contents.get((record.id, detail))
        if kept is not None and kept[0] is record:
            return kept[1]
        content = StateContent.of(state_body(record, detail), lifetime)
        self._contents[record.id, detail] = record, content
        if len(self._contents) > KEPT:
            del self._contents[next(iter(self._contents))]
        return content


def install_cached_state(app: FastAPI, endpoint: Callable[..., object], callers: Callers, every: EveryRequest) -> None:
    """Put the shortcut before everything else, for each route of the endpoint that has no dependencies."""
    for route in list(iter_route_contexts(app.routes)):
        if route.endpoint is endpoint and not route.dependant.dependencies:
            app.add_middleware(CachedState, route.path_format or "", app.state.service, callers, every)
