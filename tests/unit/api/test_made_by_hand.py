"""The response made of bytes, and the log line made by hand, are what Starlette and the logging package make."""

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Message

from app.api.access_log import hand_to_loggers
from app.api.caching import state_response
from app.api.catalogue import CATALOGUE
from app.lookup.engine import LookupResult
from app.lookup.record import MessageRecord
from app.lookup.waiter import Source
from app.telemetry.logs import ACCESS, AccessLine, JsonFormatter, Lines, Shared, sole_json_handler
from app.telemetry.redaction import NotSecret, Redactor

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


@given(
    st.tuples(
        st.floats(0, 4e9),
        st.text() | st.builds(NotSecret, st.text()),
        st.floats(0, 1e6),
        st.none() | st.from_regex("[0-9a-f]{32}", fullmatch=True),
        st.builds(
            Shared,
            caller=st.none() | st.text(),
            route=st.text(),
            method=st.text(),
            status=st.integers(0, 999),
            source=st.none() | st.sampled_from([each.value for each in Source]),
            entries=st.none() | st.integers(0, 1000),
            problem=st.none() | st.sampled_from(list(CATALOGUE)),
        ),
    )
)
def test_the_line_made_by_hand_is_the_one_that_the_formatter_writes(line: AccessLine) -> None:
    formatter = JsonFormatter(Redactor(lambda: ("secret", "0000")))
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign, assignment]  # collects what loggers hand on
    access = logging.getLogger(ACCESS)
    access.addHandler(handler)
    level, propagate = access.level, access.propagate
    access.setLevel(logging.INFO)
    access.propagate = False
    try:
        hand_to_loggers(line)
    finally:
        access.removeHandler(handler)
        access.setLevel(level)
        access.propagate = propagate
    (record,) = records
    # The same members in their order; only a duration like 0.1 is written as 0.10.
    assert list(json.loads(formatter.access_line(line)).items()) == list(json.loads(formatter.format(record)).items())


def test_lines_of_one_second_have_their_own_milliseconds() -> None:
    formatter = JsonFormatter(Redactor(tuple))
    shared = Shared(None, "/", "GET", 200, None, None, None)
    times = [json.loads(formatter.access_line((at, "one", 0.1, None, shared)))["time"] for at in (7.25, 7.5, 7.5, 8.5)]
    assert [each[17:23] for each in times] == ["07.250", "07.500", "07.500", "08.500"]


def test_the_record_of_a_line_has_what_a_loggers_own_has(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, ACCESS)
    hand_to_loggers((7.0, "one", 0.0005, None, Shared(None, "/", "GET", 200, None, None, None)))
    logging.getLogger(ACCESS).info("request", extra={"fields": {}})
    made, ordinary = caplog.records
    assert made.__dict__.keys() == ordinary.__dict__.keys()
    assert (made.getMessage(), made.name, made.levelname, made.created) == ("request", ACCESS, "INFO", 7.0)


def test_a_line_is_made_by_hand_only_where_our_handler_alone_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    root, access = logging.getLogger(), logging.getLogger(ACCESS)
    ours = Lines(io.StringIO())
    monkeypatch.setattr(root, "handlers", [ours])
    assert sole_json_handler() is None, "it writes no JSON"
    ours.setFormatter(JsonFormatter(Redactor(tuple)))
    assert sole_json_handler() == (ours, ours.formatter)
    monkeypatch.setattr(access, "filters", [logging.Filter()])
    assert sole_json_handler() is None
    monkeypatch.setattr(access, "filters", [])
    monkeypatch.setattr(root, "handlers", [ours, logging.NullHandler()])
    assert sole_json_handler() is None
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler()])
    assert sole_json_handler() is None
