"""The log: one pipeline for the service, uvicorn and httpx; one line an event, JSON or text, free of secrets.

A message is a constant sentence, so that it can be searched for; what varies stands in ``extra={"fields": {...}}``.

Secrets are searched for in what comes from outside, before it becomes part of a line (``app/telemetry/redaction.py``).
"""

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import NamedTuple, Protocol

from app.telemetry.redaction import NotSecret, Redact, Redactor, message_of, searched

request_id_of_log: ContextVar[str | None] = ContextVar("request_id_of_log", default=None)
"""The id of the request that the current task works for."""

ACCESS = "app.access"
"""The logger of the line that each request gets."""
REPEAT_SECONDS = 10.0
"""A fault is logged once in this time; its repetitions are counted."""
MAX_FAULTS = 1000
"""Different messages that are counted at a time."""
MAX_SHARED = 1024
"""Texts kept that lines share, the latest: 0.6 KB each."""
OWN_FIELDS = frozenset(
    {"route", "method", "status", "duration_ms", "source", "entries", "problem", "caller", "trace_id", "why", "kind"}
)
"""Fields whose values the service chooses itself, or has checked."""


_NO_FIELDS: dict[str, object] = {}
_access = logging.getLogger(ACCESS)
_quoted: Callable[[str], str] = json.encoder.encode_basestring


class Shared(NamedTuple):
    """What the lines of many requests share. ``entries``: ids that the platform was asked for; None: not said."""

    caller: str | None
    route: str
    method: str
    status: int
    source: str | None
    entries: int | None
    problem: str | None


AccessLine = tuple[float, str, float, str | None, Shared]
"""A request that has ended: when (seconds since the epoch), its id, the seconds that it took, its trace, and the rest.

A plain tuple, which costs a sixth of one with names.
"""


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, redact: Redact) -> None:
        super().__init__()
        self._redact = redact
        # Both kept, because this runs for every request: json.dumps would make an encoder for each line, and many
        # lines share their millisecond with the one before.
        self._encode = json.JSONEncoder(ensure_ascii=False, default=str).encode
        self._millisecond = (-1, "")
        self._shared_text = lru_cache(MAX_SHARED)(_shared_text)

    def access_line(self, line: AccessLine) -> str:
        """The line of a request as ``format`` writes it, without a record of the logging package."""
        at, request_id, seconds, trace_id, shared = line
        shown = request_id if isinstance(request_id, NotSecret) else self._redact(request_id)
        before, behind = self._shared_text(shared)
        trace = "" if trace_id is None else f', "trace_id": {_quoted(trace_id)}'
        return (
            f'{{"time": "{self._time(at)}", "level": "info", "logger": "{ACCESS}", "message": "request", '
            f'"request_id": {_quoted(shown)}, {before}, "duration_ms": {seconds * 1000:.2f}{trace}{behind}}}'
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON; a traceback becomes a string in it."""
        entry: dict[str, object] = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.msg if record.name == ACCESS else message_of(record, self._redact),
        }
        request_id = request_id_of_log.get()
        if request_id:
            entry["request_id"] = request_id if isinstance(request_id, NotSecret) else self._redact(request_id)
        for name, value in getattr(record, "fields", _NO_FIELDS).items():
            own = name in OWN_FIELDS or isinstance(value, NotSecret)
            entry[name] = value if own else searched(value, self._redact)
        if record.exc_info:
            entry["exception"] = self._redact(self.formatException(record.exc_info))
        return self._encode(entry)

    def _time(self, at: float) -> str:
        """RFC 3339 in UTC, with milliseconds."""
        now = int(at * 1000)
        millisecond, text = self._millisecond
        if now != millisecond:
            text = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(int(at)))}.{now % 1000:03d}+00:00"
            self._millisecond = (now, text)
        return text


def _shared_text(shared: Shared) -> tuple[str, str]:
    """What stands before the duration of a request, and at the end of its line."""
    caller, route, method, status, source, entries, problem = shared
    before = (
        f'"caller": {"null" if caller is None else _quoted(caller)}, "route": {_quoted(route)}, '
        f'"method": {_quoted(method)}, "status": {status}'
    )
    behind = "" if source is None else f', "source": "{source}"'
    behind += "" if entries is None else f', "entries": {entries}'
    return before, behind + ("" if problem is None else f', "problem": "{problem}"')


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self, redact: Redact) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the request's id and the fields after it, and a traceback below it."""
        request_id = request_id_of_log.get()
        shown: dict[str, object] = {"request_id": self._redact(request_id)} if request_id else {}
        for name, value in getattr(record, "fields", _NO_FIELDS).items():
            shown[name] = value if name in OWN_FIELDS else searched(value, self._redact)
        fields = " ".join(f"{name}={value}" for name, value in shown.items())
        line = f"{self.formatTime(record, self.datefmt)} {record.levelname:7} {message_of(record, self._redact)}"
        line = f"{line}  {fields}" if fields else line
        return f"{line}\n{self._redact(self.formatException(record.exc_info))}" if record.exc_info else line


class Summary(logging.Filter):
    """Lets a message pass once, and as long as it comes back tells every ten seconds how many more there were.

    Not for the access line, which every request has, nor for debugging.

    ``flush`` tells of faults that have stopped; something has to call it now and then.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._faults: dict[tuple[str, str], _Fault] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first of its kind."""
        if record.name == ACCESS or record.levelno < logging.INFO or hasattr(record, "is_summary"):
            return True
        try:
            key = (record.name, record.getMessage())
        except Exception:  # a record that cannot be written is the handler's to tell
            return True
        now = self._clock()
        if key in self._faults and now - self._faults[key].since >= REPEAT_SECONDS:
            self._tell(key, now)
        if key in self._faults:
            fault = self._faults[key]
            self._faults[key] = fault._replace(more=fault.more + 1, latest=record)
            return False
        if len(self._faults) < MAX_FAULTS:
            self._faults[key] = _Fault(now, 0, record)
        return True

    def flush(self) -> None:
        """Tell of the faults whose time is over."""
        now = self._clock()
        for key, fault in list(self._faults.items()):
            if now - fault.since >= REPEAT_SECONDS:
                self._tell(key, now)

    def _tell(self, key: tuple[str, str], now: float) -> None:
        """Tell how often the fault came back, and go on counting; forget it if it did not."""
        fault = self._faults.pop(key)
        if not fault.more:
            return
        self._faults[key] = fault._replace(since=now, more=0)
        latest = fault.latest
        # With the arguments of a record, since they may hold what has to be searched for secrets.
        text, args = (latest.msg, latest.args) if isinstance(latest.args, tuple) and latest.args else (key[1], ())
        text = str(text) if args else text.replace("%", "%%")
        fields: dict[str, object] = {"repeated": fault.more}
        if "why" in (its_own := getattr(latest, "fields", _NO_FIELDS)):
            # One message may have several causes: the latest one may not be that of the first.
            fields["why"] = its_own["why"]
        extra = {"is_summary": True, "fields": fields}
        logger = logging.getLogger(latest.name)
        logger.log(latest.levelno, f"{text} (%d more in %g s)", *args, fault.more, REPEAT_SECONDS, extra=extra)


class _Fault(NamedTuple):
    """A message that may come back: since when it is counted, how often it came back, and its latest record."""

    since: float
    more: int
    latest: logging.LogRecord


class Stream(Protocol):
    """What lines are written to."""

    def write(self, line: str, /) -> object:
        """Write a line."""


class Lines(logging.Handler):
    """Writes each record as a line to a stream that sends it on its way by itself.

    A record that cannot be written is told by a line like any other, and never by a traceback of ``logging``.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            self._stream.write(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """Say whose record was broken, and by which kind of error; nothing where nothing can be written."""
        kind = type(sys.exc_info()[1]).__name__
        told = logging.LogRecord(record.name, logging.ERROR, "", 0, "a log record could not be written", None, None)
        told.fields = {"kind": kind}
        with contextlib.suppress(Exception):
            self._stream.write(f"{self.format(told)}\n")

    def write(self, line: str) -> None:
        """Write lines that are ready, each with its end."""
        self._stream.write(line)


def sole_json_handler() -> tuple[Lines, JsonFormatter] | None:
    """What alone gets the line of each request and writes it as JSON; None where others listen as well."""
    handlers = logging.getLogger().handlers
    if len(handlers) != 1 or _access.handlers or _access.filters:
        return None
    handler = handlers[0]
    if isinstance(handler, Lines) and isinstance(handler.formatter, JsonFormatter):
        return handler, handler.formatter
    return None


def configure_logs(level: str, style: str, secrets: Callable[[], tuple[str, ...]], stream: Stream) -> Summary:
    """Send every logger's records through one handler to a stream.

    ``secrets`` yields what no line may show. Returns the filter that has to be flushed now and then.
    """
    handler = Lines(stream)
    redact = Redactor(secrets)
    handler.setFormatter(JsonFormatter(redact) if style == "json" else TextFormatter(redact))
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
