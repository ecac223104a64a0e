"""Whose fault is it, and what is it? An answer from two scrapes of the metrics and nothing else.

The table is read from the top; the first line that fits is the answer. ``docs/runbook.md`` walks the same way with
queries, and has a section for each cause.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Values = Mapping[str, float]
"""A scrape: the value of each series by its name and labels as they stand in the text."""

P = "message_state"
SLOW_SECONDS = 0.5
"""Mean time of an upstream request from which the platform counts as slow: a healthy one takes some 30 ms."""
BUSY_SECONDS = 0.25
"""Mean delay of the event loop from which the process counts as busy."""
STUCK_SECONDS = 1.0
"""For which a write of log lines waits from where on nobody reads them."""
OFTEN = 0.5
"""Share of requests or ids from which something is the rule and no exception."""


NEARLY_ALL = 0.9
"""Share of the refusals from which they are one caller's own."""
WITHOUT_NAME = "address"
"""The label of all callers without a key: they are many, or nobody knows."""


def parse(text: str) -> dict[str, float]:
    """The values of a scrape."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


class Window:
    """What happened between two scrapes."""

    def __init__(self, before: Values, after: Values) -> None:
        self._before = before
        self._after = after

    def rise(self, name: str, label: str = "") -> float:
        """By how much the series of this name that have this label rose, in sum."""
        return sum(value - self._before.get(series, 0.0) for series, value in self._found(name, label))

    def now(self, name: str, label: str = "") -> float:
        """The sum of the series of this name that have this label, at the second scrape."""
        return sum(value for _, value in self._found(name, label))

    def mean(self, name: str) -> float:
        """The mean of what a histogram observed; 0 where it observed nothing."""
        count = self.rise(f"{name}_count")
        return self.rise(f"{name}_sum") / count if count else 0.0

    def result(self, *slugs: str) -> bool:
        """Whether upstream requests ended in these ways at least as often as in any other bad way."""
        name = f"{P}_upstream_request_duration_seconds_count"
        all_bad = self.rise(name) - self.rise(name, 'result="ok"') - self.rise(name, 'result="cancelled"')
        these = sum(self.rise(name, f'result="{slug}"') for slug in slugs)
        return these > 0 and these >= OFTEN * all_bad

    def problem(self, slug: str) -> float:
        """Ids that were answered with this problem."""
        return self.rise(f"{P}_lookup_failures_total", f'problem="{slug}"')

    def one_caller(self, *names: str) -> bool:
        """Whether nearly all that these counters rose by is that of one caller with a name."""
        risen: dict[str, float] = {}
        for name in names:
            for series, value in self._found(name, "caller="):
                caller = series.partition('caller="')[2].partition('"')[0]
                risen[caller] = risen.get(caller, 0.0) + value - self._before.get(series, 0.0)
        most = max(risen, key=risen.__getitem__, default=WITHOUT_NAME)
        return most != WITHOUT_NAME and risen[most] > 0 and risen[most] >= NEARLY_ALL * sum(risen.values())

    def _found(self, name: str, label: str) -> list[tuple[str, float]]:
        return [
            (series, value)
            for series, value in self._after.items()
            if series.partition("{")[0] == name and label in series
        ]


@dataclass(frozen=True)
class Cause:
    """A line of the table. ``whose``: ours, the platform's or the callers'."""

    name: str
    whose: str
    fits: Callable[[Window], bool]


def _answered(window: Window, status: str) -> float:
    return window.rise(f"{P}_http_request_duration_seconds_count", f'status="{status}"')


def _share(part: float, whole: float) -> bool:
    return part > 0 and part >= OFTEN * whole


def _shared_cache_fails(window: Window) -> bool:
    name = f"{P}_cache_request_duration_seconds_count"
    return window.rise(name) > window.rise(name, 'outcome="ok"') + window.rise(name, 'outcome="value"')


CAUSES = [
    Cause("defect", "ours", lambda w: _answered(w, "500") > 0 or w.problem("internal-error") > 0),
    Cause(
        "descriptors used up",
        "ours",
        lambda w: w.rise(f"{P}_http_connections_closed_total", 'limit="descriptors"') > 0,
    ),
    Cause("account locked", "platform", lambda w: w.now(f"{P}_latch_held", 'reason="upstream-account-locked"') > 0),
    Cause(
        "credentials rejected",
        "ours",
        lambda w: w.now(f"{P}_latch_held", 'reason="upstream-credentials-rejected"') > 0,
    ),
    Cause("throttled", "platform", lambda w: w.result("upstream-throttled")),
    Cause("one caller spoils batches", "a caller", lambda w: w.now(f"{P}_isolated") > 0),
    Cause("platform unreachable", "platform", lambda w: w.result("upstream-unreachable")),
    Cause("platform fails", "platform", lambda w: w.result("upstream-error")),
    Cause("platform's reply unreadable", "platform", lambda w: w.result("upstream-invalid-reply")),
    Cause("platform refuses", "platform", lambda w: w.result("upstream-rejected", "upstream-rejected-request")),
    Cause("platform answers too late, or never", "platform", lambda w: w.result("upstream-timeout")),
    Cause("platform slow", "platform", lambda w: w.mean(f"{P}_upstream_request_duration_seconds") >= SLOW_SECONDS),
    Cause("process busy", "ours", lambda w: w.mean(f"{P}_event_loop_delay_seconds") >= BUSY_SECONDS),
    Cause(
        "one caller asks for too much",
        "a caller",
        lambda w: w.one_caller(*(f"{P}_{each}_total" for each in ("refused_ids", "refused_waits", "rate_limited"))),
    ),
    Cause("queue full", "ours", lambda w: w.problem("overloaded") > 0),
    Cause(
        "messages not found",
        "callers",
        lambda w: _share(w.problem("message-not-found"), w.rise(f"{P}_lookups_total", 'source="upstream"')),
    ),
    Cause("batching off", "platform", lambda w: w.now(f"{P}_batching_enabled") < 1),
    Cause("shared cache fails", "ours", _shared_cache_fails),
    Cause("undocumented state", "platform", lambda w: w.rise(f"{P}_undocumented_states_total") > 0),
    Cause(
        "callers' mistakes",
        "callers",
        lambda w: _share(
            sum(_answered(w, status) for status in ("401", "405", "413", "422", "429")),
            w.rise(f"{P}_http_request_duration_seconds_count"),
        ),
    ),
    Cause(
        "log lines lost",
        "ours",
        lambda w: w.rise(f"{P}_log_lines_lost_total") > 0 or w.now(f"{P}_log_stuck_seconds") > STUCK_SECONDS,
    ),
]
NONE = Cause("none", "nobody", lambda _: True)


def cause(before: Values, after: Values) -> Cause:
    """The cause that the two scrapes tell of."""
    window = Window(before, after)
    return next((each for each in CAUSES if each.fits(window)), NONE)
