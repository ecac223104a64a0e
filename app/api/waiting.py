"""The long poll: a lookup whose answer waits for news (``wait=25``)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.caching import etag, matches, state_response, wants_fresh
from app.api.observing import note_lookup
from app.api.problems import failure_problem
from app.api.render import dump, public
from app.api.unwinding import Later
from app.lookup.engine import Found, Source
from app.lookup.failures import AccountLocked, CredentialsRejected, DeadlinePassed, MessageNotFound, Overloaded
from app.lookup.states import MessageRecord, Outcome
from app.lookup.subscription import Subscription, View
from app.lookup.watching import Watching

ROUTE = "/messages/{id}/state?wait"
"""The route in metrics and log: how long a caller waits says nothing about how fast a lookup is."""


def wait_for_state(request: Request, id_: int, detail: bool, seconds: int) -> Response:
    """The state as soon as it is news to the caller, or what is known when the time is up."""
    watching: Watching = request.app.state.watching
    request.scope["state"]["route"] = ROUTE
    try:
        subscription = watching.subscribe([id_], detail)
    except Overloaded as failure:
        return failure_problem(request.scope, id_, failure)
    return Later(_Wait(watching, subscription, seconds))


class _Wait:
    """One caller's wait."""

    __slots__ = ("_seconds", "_subscription", "_watching")

    def __init__(self, watching: Watching, subscription: Subscription, seconds: int) -> None:
        self._watching = watching
        self._subscription = subscription
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, and answer."""
        leaving = asyncio.create_task(_close_when_gone(receive, self._subscription))
        try:
            response = await self._response(scope)
        finally:
            leaving.cancel()
            self._subscription.close()
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        clock = asyncio.get_running_loop().time
        ends = clock() + self._seconds
        watching, subscription = self._watching, self._subscription
        (id_,), detail = subscription.ids, subscription.detail
        request = Request(scope)
        if_none_match = request.headers.get("if-none-match")
        found = await watching.look_up([id_], detail, fresh=wants_fresh(request))
        note_lookup(scope, found)
        source = found[id_].source
        view = watching.view(id_)
        while not (_is_news(view, detail, if_none_match) or _is_hopeless(view)):
            if not await subscription.news(ends - clock()):
                break
            source = Source.UPSTREAM
            await watching.complete([id_], detail)
            view = watching.view(id_)
        if (
            isinstance(view.answer, MessageRecord)
            and view.serves(detail)
            and (_is_news(view, detail, if_none_match) or not _is_hopeless(view))
        ):
            answer = Found(view.answer, watching.age(view), 0.0, source)
            return state_response(request, dump(public(view.answer, detail)), answer, keep=False)
        if isinstance(view.answer, MessageNotFound):
            return failure_problem(scope, id_, view.answer)
        # Without a failure only the detail is missing, which nobody had the time to bring.
        return failure_problem(scope, id_, view.failure or DeadlinePassed("the wait is over"))


def _is_news(view: View, detail: bool, if_none_match: str | None) -> bool:
    """Whether the state is what the caller waits for: no longer pending, or no longer the one that it has."""
    if not isinstance(view.answer, MessageRecord) or not view.serves(detail):
        return False
    meaning = view.answer.meaning
    if if_none_match is None:
        return meaning.outcome is not Outcome.PENDING
    return meaning.final or not matches(if_none_match, etag(dump(public(view.answer, detail))))


def _is_hopeless(view: View) -> bool:
    """Whether waiting makes no sense: nothing will change within a minute."""
    return isinstance(view.answer, MessageNotFound) or isinstance(view.failure, CredentialsRejected | AccountLocked)


async def _close_when_gone(receive: Receive, subscription: Subscription) -> None:
    """Let go of a caller that hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.close()
