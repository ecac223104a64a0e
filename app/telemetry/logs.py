"""The log: one pipeline for the service, uvicorn and httpx; one line an event, JSON or text, free of secrets.

A message is a constant sentence, so that it can be searched for; what varies stands in ``extra={"fields": {...}}``.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, TextIO

request_id_of_log: ContextVar[str | None] = ContextVar("request_id_of_log", default=None)
"""The id of the request that the current task works for."""

ACCESS = "app.access"
"""The logger of the line that each request gets."""
REDACTED = "[redacted]"
REPEAT_SECONDS = 10.0
"""A fault is logged once in this time; its repetitions are counted."""
MAX_FAULTS = 1000
"""Different messages that are counted at a time."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What varies in an event."""
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self) -> None:
        super().__init__()
        # Both kept, because this runs for every request: json.dumps would make an encoder for each line, and most
        # lines share their second with the one before.
        self._encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a traceback becomes a string in it."""
        entry = {
            "time": self._time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = request_id_of_log.get()
        if request_id:
            entry["request_id"] = request_id
        entry |= fields_of(record)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._encode(entry)

    def _time(self, record: logging.LogRecord) -> str:
        """RFC 3339 in UTC, with milliseconds."""
        second, text = self._second
        if int(record.created) != second:
            second = int(record.created)
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return f"{text}.{int(record.created * 1000) % 1000:03d}+00:00"


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the standard library's name
        """The line, with the request's id and the fields after it."""
        line = super().formatMessage(record)
        request_id = request_id_of_log.get()
        shown = ({"request_id": request_id} if request_id else {}) | fields_of(record)
        fields = " ".join(f"{name}={value}" for name, value in shown.items())
        return f"{line}  {fields}" if fields else line


class Redacting(logging.Formatter):
    """Takes every secret out of the finished line, wherever it came from: message, fields or traceback."""

    def __init__(self, inner: logging.Formatter, secrets: Callable[[], tuple[str, ...]]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets
        self._known: tuple[str, ...] = ()
        self._spellings: list[str] = []

    def format(self, record: logging.LogRecord) -> str:
        """The inner formatter's line without secrets."""
        line = self._inner.format(record)
        secrets = self._secrets()
        if secrets != self._known:
            self._known, self._spellings = secrets, _spellings(secrets)
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, REDACTED)
        return line


class Summary(logging.Filter):
    """Lets a message pass once, and as long as it comes back tells every ten seconds how many more there were.

    Not for the access line, which every request has, nor for debugging.

    ``flush`` tells of faults that have stopped; something has to call it now and then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._faults: dict[tuple[str, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first of its kind."""
        if record.name == ACCESS or record.levelno < logging.INFO or hasattr(record, "is_summary"):
            return True
        key = (record.name, record.getMessage())
        now = self._clock()
        if key in self._faults and now - self._faults[key][0] >= REPEAT_SECONDS:
            self._tell(key, now)
        if key in self._faults:
            since, more, level = self._faults[key]
            self._faults[key] = (since, more + 1, level)
            return False
        if len(self._faults) < MAX_FAULTS:
            self._faults[key] = (now, 0, record.levelno)
        return True

    def flush(self) -> None:
        """Tell of the faults whose time is over."""
        now = self._clock()
        for key, (since, _, _) in list(self._faults.items()):
            if now - since >= REPEAT_SECONDS:
                self._tell(key, now)

    def _tell(self, key: tuple[str, str], now: float) -> None:
        """Tell how often the fault came back, and go on counting; forget it if it did not."""
        _, more, level = self._faults.pop(key)
        if more:
            self._faults[key] = (now, 0, level)
            name, text = key
            message = f"{text} ({more} more in {REPEAT_SECONDS:g} s)"
            logging.getLogger(name).log(level, "%s", message, extra={"is_summary": True, "fields": {"repeated": more}})


class Lines(logging.StreamHandler[TextIO]):
    """Writes to a stream that sends each line on its way by itself, as standard error does."""

    def flush(self) -> None:
        """Not once more for each line."""


def configure_logs(
    level: str, style: str, secrets: Callable[[], tuple[str, ...]], stream: TextIO | None = None
) -> Summary:
    """Send every logger's records through one handler.

    ``secrets`` yields what no line may show. Returns the filter that has to be flushed now and then.
    """
    handler = Lines(stream or sys.stderr)
    handler.setFormatter(Redacting(JsonFormatter() if style == "json" else TextFormatter(), secrets))
    summary = Summary()
    handler.addFilter(summary)
    # No line shows them, and each record would look them up (the standard library's HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Their information lines tell nothing that ours do not, for each request.
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return summary


def _spellings(secrets: Iterable[str]) -> list[str]:
    """Each secret as it may stand in a line: itself, escaped by JSON or repr(), and that escaped once more by JSON."""
    spellings: set[str] = set()
    for secret in filter(None, secrets):
        quoted = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
        once = {secret, *quoted, repr(secret)[1:-1], repr(secret.encode())[2:-1]}
        spellings |= once | {json.dumps(spelling, ensure_ascii=False)[1:-1] for spelling in once}
    # The longest first: a secret that begins with another one must not leave its rest behind.
    return sorted(spellings, key=len, reverse=True)
