"""The log: one pipeline for the service, uvicorn and httpx; one line an event, JSON or text, free of secrets."""

import json
import logging
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

request_id_of_log: ContextVar[str | None] = ContextVar("request_id_of_log", default=None)
"""The id of the request that the current task works for."""

REDACTED = "[redacted]"


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a traceback becomes a string in it."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = request_id_of_log.get()
        if request_id:
            entry["request_id"] = request_id
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class Redacting(logging.Formatter):
    """Takes every secret out of the finished line, wherever it came from: message, arguments or traceback."""

    def __init__(self, inner: logging.Formatter, secrets: Callable[[], Iterable[str]]) -> None:
        super().__init__()
        self._inner = inner
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        """The inner formatter's line without secrets."""
        line = self._inner.format(record)
        for secret in self._secrets():
            # In JSON and in repr() a quote or backslash of a secret stands escaped.
            for spelling in {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}:
                if spelling:
                    line = line.replace(spelling, REDACTED)
        return line


def configure_logs(level: str, style: str, secrets: Callable[[], Iterable[str]], stream: TextIO = sys.stderr) -> None:
    """Send every logger's records through one handler. ``secrets`` yields what no line may show."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Redacting(JsonFormatter() if style == "json" else TextFormatter(), secrets))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # Their information lines tell nothing that ours do not, for each request.
    for name in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(name).setLevel(logging.WARNING)
