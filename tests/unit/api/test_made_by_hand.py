"""The response made of bytes, and the log record made by hand, are what Starlette and the standard library make."""

import logging

import pytest
from starlette.responses import Response
from starlette.types import Message

from app.api.access_log import AccessLog, Ended
from app.api.caching import state_response
from app.lookup.engine import LookupResult
from app.lookup.record import MessageRecord
from app.lookup.waiter import Source
from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio

SCOPE = {"type": "http", "method": "GET", "path": "/", "headers": [], "state": {"request_id": "one", "status": 200}}


async def sent_by(response: Response) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("nobody reads the body")

    async def send(message: Message) -> None:
        sent.append({**message, "headers": sorted(message.get("headers", ()))})

    await response(SCOPE, receive, send)
    return sent


async def test_the_response_made_of_bytes_is_sent_as_starlettes_is() -> None:
    made = state_response(SCOPE, b"{}", LookupResult(MessageRecord(1, "send"), 1.0, 2.0, Source.CACHE))
    headers = {name.decode(): value.decode() for name, value in made.raw_headers}
    assert await sent_by(made) == await sent_by(Response(b"{}", 200, headers))


def test_the_record_made_by_hand_has_what_a_loggers_own_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS)
    AccessLog(Metrics("1")).write(Ended(SCOPE, 0.5, None, 7.0))
    logging.getLogger(ACCESS).info("request", extra={"fields": {}})
    made, ordinary = caplog.records
    assert made.__dict__.keys() == ordinary.__dict__.keys()
    assert (made.getMessage(), made.name, made.levelname, made.created) == ("request", ACCESS, "INFO", 7.0)
