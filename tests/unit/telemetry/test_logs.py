"""The log: one line an event, free of secrets."""

import io
import json
import logging
import sys
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from app.telemetry.logs import configure_logs, request_id_of_log
from app.telemetry.redaction import REDACTED, NotSecret

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
    logging.getLogger("another.package").info("it is " + secret)
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
    stream = log_into("text", "info", "abcd", "abcd-ef")
    logging.getLogger("other").info("password abcd-ef, login abcd")
    assert stream.getvalue().rstrip().endswith("password [redacted], login [redacted]")


def test_the_secrets_are_asked_for_anew_for_each_line() -> None:
    stream, secrets = io.StringIO(), ["older"]
    configure_logs("info", "text", lambda: tuple(secrets), stream)
    secrets[:] = ["newer"]
    logging.getLogger("app").info("%s", "older newer")
    assert stream.getvalue().rstrip().endswith("older [redacted]")


def test_uvicorns_and_httpxs_loggers_go_the_same_way_and_only_warn() -> None:
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler(sys.stdout))
    stream = log_into()
    for name in ("uvicorn.error", "httpx", "httpcore"):
        logging.getLogger(name).info("chatter")
    assert stream.getvalue() == ""
    logging.getLogger("uvicorn.error").warning("matter")
    assert entry(stream)["message"] == "matter"


@pytest.mark.parametrize(
    "login", ["20", "e", "info", "warning", "request", "app.access", "time", "message", "livez", "GET"]
)
def test_a_login_that_is_one_of_our_own_words_breaks_no_line(login: str) -> None:
    lines = []
    for secrets in ((), (login,)):
        stream = log_into("json", "info", *secrets)
        record = logging.LogRecord("app.access", logging.INFO, "", 0, "request", None, None)
        record.created = 1_790_000_000.5
        record.fields = {"route": "/livez", "method": "GET", "status": 200, "duration_ms": 1.5, "caller": "shop"}
        logging.getLogger("app.access").handle(record)
        lines.append(entry(stream))
    assert lines[0] == lines[1]


def test_our_own_sentence_is_left_alone_and_what_comes_with_it_is_not() -> None:
    stream = log_into("json", "info", "upstream", "request")
    slug = NotSecret("upstream-timeout")
    fields = {"request_id": "a-request", "text": ["an upstream"], "more": {"request": "request"}, "why": "the request"}
    logging.getLogger("app.x").info("upstream request failed: %s, %s", slug, "upstream", extra={"fields": fields})
    logged = entry(stream)
    assert logged["message"] == "upstream request failed: upstream-timeout, [redacted]"
    assert logged["request_id"] == "a-[redacted]"
    assert (logged["text"], logged["more"], logged["why"]) == (
        ["an [redacted]"],
        {"request": "[redacted]"},
        "the request",
    )


@pytest.mark.parametrize("secret", ["päss wörd/4711", "a+b&c=d%"])
def test_a_secret_in_a_url_is_found(secret: str) -> None:
    stream = log_into("json", "info", secret)
    address = f"https://platform/?key={quote(secret, safe='')}&or={quote_plus(secret)}"
    logging.getLogger("app").info("failed: %s", OSError(address))
    assert entry(stream)["message"] == f"failed: https://platform/?key={REDACTED}&or={REDACTED}"


class Unspeakable:
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize(
    ("message", "args"), [("%d", ("words",)), ("%s %s", ("one",)), ("none", ("one",)), ("%s", (Unspeakable(),))]
)
def test_a_broken_record_is_a_line_and_no_traceback(
    style: str, message: str, args: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    stream = log_into(style)
    for name in ("app", "another.package"):
        logging.getLogger(name).error(message, *args)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all("a log record could not be written" in line for line in lines)
    assert capsys.readouterr().err == ""


def test_what_the_stream_cannot_encode_is_escaped_or_told(capsys: pytest.CaptureFixture[str]) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8")
    configure_logs("info", "json", lambda: (), stream)
    logging.getLogger("app").info("name: %s", "\udcff")
    stream.flush()
    assert json.loads(raw.getvalue())["message"] == "a log record could not be written"
    stream.close()
    logging.getLogger("app").info("nobody reads this")
    assert capsys.readouterr().err == ""
