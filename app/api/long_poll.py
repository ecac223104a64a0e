"""The long poll: a lookup whose answer waits for a change (``wait=25``)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.access import unauthenticated
from app.api.caching import etag, if_none_match, matches, state_response, wants_fresh
from app.api.context import caller_of, service_of
from app.api.problems import failure_problem
from app.api.request_context import DeferredResponse
from app.api.schemas import state_body
from app.lookup.engine import LookupResult
from app.lookup.failures import DeadlinePassed, MessageNotFound, Overloaded
from app.lookup.record import MessageRecord, Outcome
from app.lookup.subscriptions import Snapshot, Subscription
from app.lookup.waiter import Source
from app.lookup.watcher import Watcher

ROUTE = "/messages/{id}/state?wait"
"""The route in metrics and log: how long a caller waits says nothing about how fast a lookup is."""


def wait_for_state(request: Request, id_: int, detail: bool, seconds: int) -> Response:
    """The state as soon as it is new to the caller, or what is known when the time is up."""
    watcher = service_of(request).watcher
    request.scope["state"]["route"] = ROUTE
    try:
        subscription = watcher.subscribe([id_], detail, caller_of(request.scope))
    except Overloaded as failure:
        return failure_problem(request.scope, id_, failure)
    return DeferredResponse(_Wait(watcher, subscription, seconds))


class _Wait:
    """One caller's wait."""

    __slots__ = ("_seconds", "_subscription", "_watcher")

    def __init__(self, watcher: Watcher, subscription: Subscription, seconds: int) -> None:
        self._watcher = watcher
        self._subscription = subscription
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and answer. Ten thousand of these are alive at a time: what is in reach while it waits is little."""
        leaving = asyncio.create_task(_close_when_gone(receive, self._subscription))
        clock = asyncio.get_running_loop().time
        ends = clock() + self._seconds
        try:
            source = await self._look_up(scope)
            while not self._is_over(scope) and await self._subscription.changes(ends - clock()):
                source = Source.UPSTREAM
                await self._watcher.complete(self._subscription, self._subscription.ids)
            response = self._response(scope, source)
        finally:
            leaving.cancel()
            self._subscription.close()
        await response(scope, receive, send)

    async def _look_up(self, scope: Scope) -> Source:
        found = await self._watcher.begin(self._subscription, fresh=wants_fresh(scope))
        scope["state"]["results"] = found
        return found[self._subscription.ids[0]].source

    def _is_over(self, scope: Scope) -> bool:
        snapshot = self._watcher.snapshot(self._subscription.ids[0])
        return _is_hopeless(snapshot) or _is_new(snapshot, self._subscription.detail, if_none_match(scope))

    def _response(self, scope: Scope, source: Source) -> Response:
        if self._subscription.revoked:
            return unauthenticated(scope)
        (id_,), detail = self._subscription.ids, self._subscription.detail
        snapshot = self._watcher.snapshot(id_)
        if (
            isinstance(snapshot.answer, MessageRecord)
            and snapshot.serves(detail)
            and (_is_new(snapshot, detail, if_none_match(scope)) or not _is_hopeless(snapshot))
        ):
            answer = LookupResult(snapshot.answer, self._watcher.age(snapshot), 0.0, source)
            return state_response(scope, state_body(snapshot.answer, detail), answer, keep=False)
        if isinstance(snapshot.answer, MessageNotFound):
            return failure_problem(scope, id_, snapshot.answer)
        # Without a failure only the detail is missing, which nobody had the time to bring.
        return failure_problem(scope, id_, snapshot.failure or DeadlinePassed("the wait is over"))


def _is_new(snapshot: Snapshot, detail: bool, known: str | None) -> bool:
    """Whether the state is what the caller waits for: no longer pending, or no longer the one that it has."""
    if not isinstance(snapshot.answer, MessageRecord) or not snapshot.serves(detail):
        return False
    meaning = snapshot.answer.meaning
    if known is None:
        return meaning.outcome is not Outcome.PENDING
    return meaning.final or not matches(known, etag(state_body(snapshot.answer, detail)))


def _is_hopeless(snapshot: Snapshot) -> bool:
    """Whether waiting makes no sense: nothing will change within a minute."""
    failure = snapshot.failure
    return isinstance(snapshot.answer, MessageNotFound) or (failure is not None and failure.locks_out)


async def _close_when_gone(receive: Receive, subscription: Subscription) -> None:
    """Let go of a caller that hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.close()
