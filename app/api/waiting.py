"""The long poll: a lookup whose answer waits for news (``wait=25``)."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from app.api.caching import etag, matches, state_response, wants_fresh
from app.api.observing import note_lookup
from app.api.problems import failure_problem
from app.api.render import dump, public
from app.lookup.engine import Found, Source
from app.lookup.failures import AccountLocked, CredentialsRejected, DeadlinePassed, MessageNotFound, Overloaded
from app.lookup.states import MessageRecord, Outcome
from app.lookup.subscription import Subscription, View
from app.lookup.watching import Watching

ROUTE = "/messages/{id}/state?wait"
"""The route in metrics and log: how long a caller waits says nothing about how fast a lookup is."""


async def wait_for_state(request: Request, id_: int, detail: bool, seconds: int) -> Response:
    """The state as soon as it is news to the caller, or what is known when the time is up."""
    watching: Watching = request.app.state.watching
    request.scope["state"]["route"] = ROUTE
    try:
        subscription = watching.subscribe([id_], detail)
    except Overloaded as failure:
        return failure_problem(request.scope, id_, failure)
    leaving = asyncio.create_task(_close_when_gone(request, subscription))
    try:
        return await _wait(request, subscription, asyncio.get_running_loop().time() + seconds)
    finally:
        leaving.cancel()
        subscription.close()


async def _wait(request: Request, subscription: Subscription, ends: float) -> Response:
    watching: Watching = request.app.state.watching
    (id_,), detail = subscription.ids, subscription.detail
    if_none_match = request.headers.get("if-none-match")
    clock = asyncio.get_running_loop().time
    found = await watching.look_up([id_], detail, fresh=wants_fresh(request))
    note_lookup(request.scope, found)
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
        return failure_problem(request.scope, id_, view.answer)
    # Without a failure only the detail is missing, which nobody had the time to bring.
    return failure_problem(request.scope, id_, view.failure or DeadlinePassed("the wait is over"))


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


async def _close_when_gone(request: Request, subscription: Subscription) -> None:
    """Let go of a caller that hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    subscription.close()
