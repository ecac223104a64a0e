"""What wraps every request: its id, the answer to a crash, the limit of its body. Plain ASGI."""

import logging
import re
import secrets
from collections.abc import Callable
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.deferred import respond_through
from app.api.health import Lifecycle
from app.api.problems import CallerLeft, problem
from app.telemetry.logs import request_id_of_log

MAX_BODY_BYTES = 1024 * 1024

SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""For every response, pages or not: nothing here is to be guessed at, told elsewhere, or shown inside another page."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

log = logging.getLogger(__name__)


def new_request_id() -> str:
    """64 random bits: enough to find one request among a day's."""
    return secrets.token_hex(8)


class RequestId:
    """Takes over or makes the request's id, puts it into the log's context, and sends it back.

    Being the outermost, it also adds what every response has, and leaves the status in ``scope["state"]`` once the
    response has begun: one function around ``send`` is cheaper than three.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle, make_id: Callable[[], str] = new_request_id) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._make_id = make_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else self._make_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", request_id.encode()), *SECURITY_HEADERS]
                if self._lifecycle.stopping:
                    # Another replica takes the next request of this connection.
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        token = request_id_of_log.set(request_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id_of_log.reset(token)


class Refusal(NamedTuple):
    """Why the server refuses a request that it could not read: a problem of the catalogue, and what happened.

    The server leaves it in ``scope["state"]["refusal"]``, so that the answer has all that every answer has: the request
    id, the headers, the permission for pages of other origins, the metric and the line in the log.
    """

    slug: str
    detail: str


class CrashGuard:
    """Turns an exception that nobody expected into a problem without internals, and logs it with all of them.

    Two more things happen here, inside of what counts and logs: the server's own refusals are answered, and HEAD is
    handed on as GET, of which the server sends the head alone (RFC 9110, section 9.3.2).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            if scope["type"] != "http":
                await self._app(scope, receive, send)
                return
            if "refusal" in scope["state"]:
                refusal: Refusal = scope["state"]["refusal"]
                await problem(scope, refusal.slug, detail=refusal.detail)(scope, receive, send)
            elif scope.get("method") == "HEAD":
                await self._head(scope, receive, send)
            else:
                await self._app(scope, receive, send)
                respond_through(scope, send)
        except Exception:
            if scope["type"] != "http":
                raise
            log.exception("unhandled error while handling a request")
            if "status" in scope["state"]:
                raise  # too late for another answer: the server ends the connection
            await problem(scope, "internal-error")(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["head"] = True
        as_get = {**scope, "method": "GET"}
        try:
            await self._app(as_get, receive, send)
        finally:
            # Metric and log name the route that was found.
            scope["route"] = as_get.get("route")


def is_head(scope: Scope) -> bool:
    """Whether only the head of the answer is wanted: then nothing is waited for, streamed or charged."""
    return "head" in scope["state"]


class RequestTooLarge(HTTPException):
    """The body is over the limit."""

    def __init__(self) -> None:
        super().__init__(413)


class BodyLimit:
    """Refuses a body over ``MAX_BODY_BYTES`` when it is read, so that a wrong path or method is told first."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        received, complete = 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if declared.isdigit() and int(declared[:20]) > MAX_BODY_BYTES:
                raise RequestTooLarge
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                raise CallerLeft
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise RequestTooLarge
            return message

        await self._app(scope, limited, send)
