"""Metrics in Prometheus' format. Names, meaning and first steps: ``docs/metrics.md``.

What happens often is observed here; what is only a state or a count somewhere (the length of a queue, the state of the
circuit breaker) is read by a collector when somebody scrapes, and costs nothing until then.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

PREFIX = "message_state"

KNOWN_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})
"""A caller may invent methods; the label may not grow with them."""

Closed = Literal[
    "head-bytes",
    "head-fields",
    "trailer",
    "head-seconds",
    "body-seconds",
    "idle",
    "reply",
    "linger",
    "input-bytes",
    "descriptors",
]
"""The limits that end a connection."""
Phase = Literal["idle", "reading", "answering", "closing"]
"""What a connection is doing: between two requests, amid one, waiting for its answer, at its end."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ENTRIES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_DELAYS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """The metrics of one service, in a registry of their own. ``version`` is the service's."""

    def __init__(self, version: str) -> None:
        # A process-wide switch of the library: one more series for each, that nobody asks for.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
        self.registry = CollectorRegistry()
        self._http = Histogram(
            f"{PREFIX}_http_request_duration_seconds",
            "Time from a request's arrival to the end of its response, by route template, method and status.",
            ["route", "method", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._problems = Counter(
            f"{PREFIX}_http_problems",
            "Requests answered with a problem, by route template and the problem's slug.",
            ["route", "problem"],
            registry=self.registry,
        )
        # The library's own way to a child costs several times what the observation does.
        self._http_children: dict[tuple[str, str, int], Histogram] = {}
        self._upstream = Histogram(
            f"{PREFIX}_upstream_request_duration_seconds",
            "Time of one upstream request, by result: ok, or the slug of the problem.",
            ["result"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._entries = Histogram(
            f"{PREFIX}_upstream_request_entries",
            "Entries in one upstream request.",
            buckets=_ENTRIES,
            registry=self.registry,
        )
        self._cache = Histogram(
            f"{PREFIX}_cache_request_duration_seconds",
            "Time of one round trip to the shared cache, by operation and outcome: ok, or the kind of failure.",
            ["operation", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._loop_delay = Histogram(
            f"{PREFIX}_event_loop_delay_seconds",
            "How much later than asked the event loop woke a sleeper; one sample every half second.",
            buckets=_DELAYS,
            registry=self.registry,
        )
        self._closed = Counter(
            f"{PREFIX}_http_connections_closed",
            "Connections of callers that a limit ended, by the limit.",
            ["limit"],
            registry=self.registry,
        )
        for limit in get_args(Closed):
            # Also those that have not happened yet: a series that is missing cannot be alerted on.
            self._closed.labels(limit)
        self._open = Gauge(
            f"{PREFIX}_http_connections",
            "Open connections of callers, by what they are doing; looked at once a second.",
            ["state"],
            registry=self.registry,
        )
        for phase in get_args(Phase):
            self._open.labels(phase)
        self._unread = Gauge(
            f"{PREFIX}_http_unread_bytes",
            "Input of all connections that is read and not answered yet; looked at once a second.",
            registry=self.registry,
        )
        # CPU, memory, open files and start time under the names that every exporter uses.
        ProcessCollector(registry=self.registry)
        Info(f"{PREFIX}_build", "Version of the service and of Python.", registry=self.registry).info(
            {"version": version, "python": platform.python_version()}
        )

    def http_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request was answered. ``route`` is a template, never a path."""
        key = (route, method if method in KNOWN_METHODS else "other", status)
        child = self._http_children.get(key)
        if child is None:
            child = self._http_children[key] = self._http.labels(*map(str, key))
        child.observe(seconds)

    def http_problem(self, route: str, slug: str) -> None:
        """A request was answered with a problem of the catalogue."""
        self._problems.labels(route, slug).inc()

    def http_connection_closed(self, limit: Closed) -> None:
        """A limit ended a connection."""
        self._closed.labels(limit).inc()

    def http_connections(self, phases: Mapping[Phase, int], unread: int) -> None:
        """So many connections are open, by what they are doing, and hold so many bytes of input."""
        for phase in get_args(Phase):
            self._open.labels(phase).set(phases.get(phase, 0))
        self._unread.set(unread)

    def upstream_request(self, result: str, seconds: float, entries: int) -> None:
        """An upstream request ended."""
        self._upstream.labels(result).observe(seconds)
        self._entries.observe(entries)

    def cache_request(self, operation: str, seconds: float, outcome: str) -> None:
        """A round trip to the shared cache ended."""
        self._cache.labels(operation, outcome).observe(seconds)

    def loop_delay(self, seconds: float) -> None:
        """The event loop woke a sleeper late."""
        self._loop_delay.observe(seconds)

    def read_at_scrape(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Add metrics that are read from elsewhere at each scrape."""

        class Reader(Collector):
            def collect(self) -> Iterable[Metric]:
                return read()

        self.registry.register(Reader())
