"""What the server itself costs: an ASGI application without a framework, answering a constant."""

from collections.abc import Awaitable, Callable
from typing import Any

BODY = (
    b'{"id":82216,"state":"deliver","outcome":"delivered","final":false,'
    b'"changed_at":"2021-04-26T15:15:03+03:00","parts":null,"price_per_part":null}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The documented example for any request."""
    del receive
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
