"""The route of the webhook: takes the changes of state that the SMS platform posts."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Scope

from app.api.caching import NO_STORE
from app.api.context import service_of
from app.api.problems import problem, responses
from app.api.schemas import dump

PREFIX = "/webhooks"

router = APIRouter(prefix=PREFIX, tags=["Webhook"])

_ID = {"type": "integer", "format": "int64"}
_ENTRIES = {
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": {"type": "object", "properties": {"id_sms": _ID}}},
            "examples": {"two": {"summary": "Both were taken", "value": [{"id_sms": 82216}, {"id_sms": 82217}]}},
        }
    }
}
_DELIVERY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id_sms": {"anyOf": [{"type": "string"}, _ID]},
                        "time": {"type": "string", "description": "In the account's time zone; may be empty."},
                        "state": {"type": "string"},
                    },
                },
            },
            "examples": {
                "two": {
                    "summary": "As the platform documents it",
                    "value": [
                        {"id_sms": "82216", "time": "2011-01-01 12:57:46", "state": "deliver"},
                        {"id_sms": "82217", "time": "", "state": "send"},
                    ],
                }
            },
        }
    },
}


def is_webhook(scope: Scope) -> bool:
    """Whether a path may hold the webhook's token."""
    return f"{PREFIX}/" in scope.get("path", "")


@router.post(
    "/message-states/{token}",
    operation_id="receiveMessageStates",
    summary="The platform reports changes",
    description="For the platform alone: its manager enters this address, `WEBHOOK_TOKEN` at its end, for the account. "
    "Order and repetition do not matter. The answer lists the entries that were taken; the platform repeats the "
    "others. Any content type will do.",
    responses={
        200: {"description": "The entries that were taken.", **_ENTRIES},
        **responses("route-not-found", "request-too-large", "invalid-request"),
    },
    openapi_extra={"requestBody": _DELIVERY},
)
async def post_message_states(request: Request, token: str) -> Response:
    """Take a delivery."""
    service = service_of(request)
    expected = service.secrets.webhook_token
    if expected is None or not expected.matches(token):
        return problem(request.scope, "route-not-found")
    try:
        parts = service.read_webhook(await request.body())
    except ValueError:
        errors = [{"pointer": "", "detail": "The body must be a JSON array."}]
        return problem(request.scope, "invalid-request", errors=errors)
    taken: list[dict[str, int]] = []
    for reports in parts:
        await service.engine.report(reports)
        taken += [{"id_sms": report.id} for report in reports]
        await asyncio.sleep(0)  # whoever waits is not to wait for all of it
    return Response(dump(taken), headers=NO_STORE, media_type="application/json")
