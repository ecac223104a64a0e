"""From failures to problem documents: the only place that answers with a status of 400 or above."""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.catalogue import CATALOGUE, COMMON
from app.api.context import RequestState, root_path_of
from app.api.schemas import MAX_MISTAKES
from app.lookup.failures import LookupFailure, MessageNotFound

MEDIA_TYPE = "application/problem+json"
MAX_POINTER = 200
"""Characters of the place of a mistake: a key may be as long as the body."""

_SLUG_OF_STATUS = {
    400: "invalid-request",
    401: "unauthenticated",
    404: "route-not-found",
    405: "method-not-allowed",
    413: "request-too-large",
    422: "invalid-request",
    503: "overloaded",
}

log = logging.getLogger(__name__)


def problem(
    scope: Scope,
    slug: str,
    *,
    detail: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    retry_after: float | None = None,
    upstream_message: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The response for a problem type of the catalogue. ``retry_after`` in seconds, rounded up."""
    row = CATALOGUE[slug]
    state: RequestState = scope.setdefault("state", {})
    state["problem"] = slug
    path = quote(_without_token(scope["path"]), safe="/:@!$&'()*+,;=~", errors="replace")
    root_path = root_path_of(scope)
    document: dict[str, Any] = {
        "type": root_path + row.type,
        "title": row.title,
        "status": row.status,
        "detail": detail or row.detail,
        "instance": root_path + path,
        "request_id": state.get("request_id", ""),
    }
    if errors:
        document["errors"] = errors
    if upstream_message:
        document["upstream_message"] = upstream_message
    all_headers = {"Cache-Control": "no-store", **(headers or {})}
    if row.retry_after:
        all_headers["Retry-After"] = str(max(1, math.ceil(retry_after or 1)))
    content = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(content, row.status, all_headers, MEDIA_TYPE)


def _without_token(path: str) -> str:
    """The webhook's path ends in its token, which no answer repeats."""
    before, webhooks, rest = path.partition("/webhooks/")
    return f"{before}{webhooks}***" if rest else path


def failure_problem(scope: Scope, id_: int, failure: LookupFailure) -> Response:
    """The response where a failure is the whole answer."""
    return problem(
        scope,
        failure.slug,
        detail=_detail(id_, failure),
        retry_after=failure.retry_after,
        upstream_message=failure.upstream_message,
    )


def failure_entry(scope: Scope, id_: int, failure: LookupFailure) -> dict[str, Any]:
    """The entry of a batch's problem list for one id."""
    row = CATALOGUE[failure.slug]
    entry = {
        "id": id_,
        "type": root_path_of(scope) + row.type,
        "title": row.title,
        "status": row.status,
        "detail": _detail(id_, failure),
    }
    return entry | ({"upstream_message": failure.upstream_message} if failure.upstream_message else {})


def _detail(id_: int, failure: LookupFailure) -> str:
    if isinstance(failure, MessageNotFound):
        return f"The platform does not know message {id_}."
    return CATALOGUE[failure.slug].detail


def responses(*slugs: str) -> dict[int | str, dict[str, Any]]:
    """A route's problems for the OpenAPI document, one response for each status, one example for each problem."""
    documented: dict[int | str, dict[str, Any]] = {}
    for row in (CATALOGUE[slug] for slug in (*slugs, *COMMON)):
        response = documented.setdefault(
            row.status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}},
            },
        )
        response["description"] = " · ".join(filter(None, [response["description"], f"[{row.title}]({row.link})"]))
        if row.retry_after:
            response["headers"] = {
                "Retry-After": {"description": "Seconds after which to ask again.", "schema": {"type": "integer"}}
            }
        response["content"][MEDIA_TYPE]["examples"][row.slug] = {
            "summary": row.title,
            "value": {
                "type": row.type,
                "title": row.title,
                "status": row.status,
                "detail": row.detail,
                "instance": "/messages/82216/state",
                "request_id": "5f0c6b1e9d3a4b7c",
            },
        }
    return dict(sorted(documented.items()))


class CallerLeft(HTTPException):
    """The caller left before its body was there. FastAPI would call other exceptions a mistake in the body."""

    def __init__(self) -> None:
        super().__init__(499)


class _NoAnswer(Response):
    """Nobody is there to be answered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send nothing."""


def install_handlers(app: FastAPI) -> None:
    """Make every error of the framework a problem document."""

    async def on_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - Starlette's handler type is wider than the registration
        if isinstance(error, CallerLeft):
            return _NoAnswer()
        slug = _SLUG_OF_STATUS.get(error.status_code, "internal-error")
        errors = [{"pointer": "", "detail": error.detail}] if slug == "invalid-request" else []
        return problem(request.scope, slug, errors=errors, headers=_with_head(error.headers))

    async def on_invalid_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for this class alone
        return problem(request.scope, "invalid-request", errors=_mistakes(error.errors()))

    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid_request)


def _with_head(headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Whatever answers GET answers HEAD as well."""
    if headers and headers.get("Allow") == "GET":
        return {**headers, "Allow": "GET, HEAD"}
    return headers


def _mistakes(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [_mistake(error["loc"], error["type"], error["msg"], error.get("ctx")) for error in errors[:MAX_MISTAKES]]


def _mistake(loc: Sequence[str | int], kind: str, message: str, context: Mapping[str, Any] | None) -> dict[str, str]:
    where, *path = loc
    if where != "body":
        return {"parameter": str(path[0]) if path else str(where), "detail": message}
    if kind == "json_invalid":
        reason = (context or {}).get("error", "")
        return {"pointer": "", "detail": f"The body is not JSON: {reason} at character {path[0] if path else 0}"}
    return {"pointer": _pointer(path), "detail": message}


def _pointer(path: Iterable[str | int]) -> str:
    """A JSON Pointer (RFC 6901), cut where it is too long to be of use."""
    pointer = "".join("/" + str(part)[:MAX_POINTER].replace("~", "~0").replace("/", "~1") for part in path)
    return pointer if len(pointer) <= MAX_POINTER else f"{pointer[:MAX_POINTER]}…"
