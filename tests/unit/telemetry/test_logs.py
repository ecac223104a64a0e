"""The log: one line an event, free of secrets."""

import io
import json
import logging
import sys
from typing import Any

import pytest

from app.telemetry.logs import configure_logs, request_id_of_log

pytestmark = pytest.mark.usefixtures("own_logging")

SECRET = 'p"ä\\s'


def log_into(style: str = "json", level: str = "info", *secrets: str) -> io.StringIO:
    """Configure the process's log to a text that the test reads."""
    stream = io.StringIO()
    configure_logs(level, style, lambda: secrets, stream)
    return stream


def entry(stream: io.StringIO) -> dict[str, Any]:
    """The one line of a JSON log."""
    (line,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_an_event_is_one_json_line() -> None:
    stream = log_into()
    logging.getLogger("app.some").warning("two\nlines of %s", "ä")
    logged = entry(stream)
    assert logged.pop("time").endswith("+00:00")
    assert logged == {"level": "warning", "logger": "app.some", "message": "two\nlines of ä"}


def test_the_requests_id_stands_in_its_lines() -> None:
    stream = log_into()
    token = request_id_of_log.set("abc")
    logging.getLogger("app").info("x")
    request_id_of_log.reset(token)
    assert entry(stream)["request_id"] == "abc"


def test_a_traceback_stays_in_its_line() -> None:
    stream = log_into()
    try:
        raise RuntimeError("inner")
    except RuntimeError:
        logging.getLogger("app").exception("broken")
    assert "RuntimeError: inner" in entry(stream)["exception"]


def test_text_is_for_people() -> None:
    stream = log_into("text")
    logging.getLogger("app").info("hello")
    assert stream.getvalue().rstrip().endswith("INFO    hello")


def test_less_than_the_level_is_not_logged() -> None:
    stream = log_into("json", "warning")
    logging.getLogger("app").info("x")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("secret", [SECRET, "plain-secret", "секрет", "tab\tin it"])
def test_a_secret_is_in_no_line_whether_message_argument_or_traceback(style: str, secret: str) -> None:
    stream = log_into(style, "debug", "", secret)
    log = logging.getLogger("app")
    log.info("it is " + secret)
    log.info("again it is %s", secret)
    log.info("it is %r and %r", secret, secret.encode())
    log.info("it is %s", json.dumps({"password": secret}))
    log.info("unescaped it is %s", json.dumps({"password": secret}, ensure_ascii=False))
    try:
        raise RuntimeError(secret)
    except RuntimeError:
        log.exception("broken")
    written = stream.getvalue()
    assert written.count("[redacted]") >= 7
    for spelling in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert spelling not in written


def test_a_secret_that_begins_with_another_leaves_no_rest() -> None:
    stream = log_into("text", "info", "abc", "abc-def")
    logging.getLogger("app").info("password abc-def, login abc")
    assert stream.getvalue().rstrip().endswith("password [redacted], login [redacted]")


def test_the_secrets_are_asked_for_anew_for_each_line() -> None:
    stream, secrets = io.StringIO(), ["old"]
    configure_logs("info", "text", lambda: tuple(secrets), stream)
    secrets[:] = ["new"]
    logging.getLogger("app").info("old new")
    assert stream.getvalue().rstrip().endswith("old [redacted]")


def test_uvicorns_and_httpxs_loggers_go_the_same_way_and_only_warn() -> None:
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(sys.stdout))
    stream = log_into()
    for name in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(name).info("chatter")
    assert stream.getvalue() == ""
    logging.getLogger("uvicorn.error").warning("matter")
    assert entry(stream)["message"] == "matter"
