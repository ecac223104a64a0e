"""The two lookups: one message, and many."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, HTTPException, Path, Query, Request
from starlette.responses import Response

from app.api import catalogue
from app.api.access import over_quota
from app.api.caching import NO_STORE, state_response, wants_fresh
from app.api.context import caller_of, is_head, service_of
from app.api.long_poll import wait_for_state
from app.api.problems import failure_entry, failure_problem, responses
from app.api.request_body import BatchRoute
from app.api.schemas import EXAMPLE_ID, BatchReply, BatchRequest, MessageState, PathId, WaitSeconds, dump, state_body
from app.lookup.engine import LookupResult
from app.lookup.failures import LookupFailure
from app.lookup.record import Answer, MessageRecord

router = APIRouter(prefix="/messages", tags=["Messages"], route_class=BatchRoute)


@router.get(
    "/{id}/state",
    operation_id="getMessageState",
    summary="What became of one message",
    description="Asks the platform for the last state of a message. Branch on `outcome`; show `state` if you like; "
    "stop asking when `final` is true.",
    response_model=MessageState,
    responses=responses(*catalogue.LOOKUP),
)
async def get_message_state(
    request: Request,
    id_: Annotated[PathId, Path(alias="id", examples=[EXAMPLE_ID])],
    detail: Annotated[
        bool, Query(description="Whether the number of parts and the price per part are wanted as well.")
    ] = False,
    wait: Annotated[
        WaitSeconds,
        Query(
            description="Seconds to wait for a change. With `If-None-Match` the answer comes as soon as the state is "
            "another one, else 304 when the time is up; without it as soon as the outcome is no longer `pending`, "
            "else the current state when the time is up. 0: no waiting."
        ),
    ] = 0,
) -> Response:
    """One state, or the problem that stands in its way."""
    service = service_of(request)
    refusal = None if service.quotas is None else over_quota(request, service.quotas, 1)
    if refusal is not None:
        return refusal
    if wait and not is_head(request.scope):
        return wait_for_state(request, id_, detail, wait)
    caller = caller_of(request.scope)
    answers = await service.engine.lookup([id_], detail, fresh=wants_fresh(request.scope), caller=caller)
    request.scope["state"]["results"] = answers
    found = answers[id_]
    if isinstance(found.answer, LookupFailure):
        return failure_problem(request.scope, id_, found.answer)
    return state_response(request.scope, state_body(found.answer, detail), found)


async def _is_json(request: Request) -> None:
    """FastAPI would read other JSON types as well; a form's type would only be called a wrong value."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise HTTPException(422, "The content type must be application/json.")


@router.post(
    "/states",
    operation_id="lookUpMessages",
    summary="What became of many messages",
    description="Up to 1000 messages in one request. Every distinct id stands in exactly one of the two lists, each "
    "in the order of the request. The status is 200 as soon as there is a definite answer (a state, or "
    '"not found") for at least one id; where there is none for any, the request fails with the problem of the '
    "first id. POST because a thousand ids do not fit into a URL; nothing is changed.",
    response_model=BatchReply,
    responses=responses("request-too-large", *(slug for slug in catalogue.LOOKUP if slug != "message-not-found")),
    dependencies=[Depends(_is_json)],
)
async def get_message_states(
    request: Request,
    batch: Annotated[
        BatchRequest,
        Body(
            openapi_examples={
                "three": {
                    "summary": "Three messages",
                    "value": {"ids": [82216, 82217, 82218], "detail": False},
                }
            }
        ),
    ],
) -> Response:
    """The states that there are, and the problems for the rest."""
    service = service_of(request)
    refusal = None if service.quotas is None else over_quota(request, service.quotas, len(set(batch.ids)))
    if refusal is not None:
        return refusal
    written: dict[int, bytes] = {}

    def write(id_: int, each: LookupResult) -> None:
        # As soon as it is there, while the platform works on the others.
        if isinstance(each.answer, MessageRecord):
            written[id_] = state_body(each.answer, batch.detail)

    found = await service.engine.lookup(batch.ids, batch.detail, on_result=write, caller=caller_of(request.scope))
    request.scope["state"]["results"] = found
    first, answer = next((id_, each.answer) for id_, each in found.items())
    if isinstance(answer, LookupFailure) and not any(_is_definite(each.answer) for each in found.values()):
        return failure_problem(request.scope, first, answer)
    states = [written[id_] for id_ in found if id_ in written]
    failures = [(id_, each.answer) for id_, each in found.items() if isinstance(each.answer, LookupFailure)]
    problems = [dump(failure_entry(request.scope, id_, failure)) for id_, failure in failures]
    body = b'{"states":[%b],"problems":[%b]}' % (b",".join(states), b",".join(problems))
    return Response(body, headers=NO_STORE, media_type="application/json")


def _is_definite(answer: Answer) -> bool:
    return isinstance(answer, MessageRecord) or answer.definite
