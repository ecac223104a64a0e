"""``deploy/monitoring/dashboard.json``: the Grafana dashboard, from a table of rows and panels (``make docs``)."""

import json
from typing import Any

M = "message_state"
HTTP = f"{M}_http_request_duration_seconds"
UPSTREAM = f"{M}_upstream_request_duration_seconds"
SELECTOR = 'job=~"$job"'
# Not the waits and streams, which end in something else: their time is their callers' choice.
LOOKUPS = 'route=~"/messages.*states?"'

Query = tuple[str, str]
"""An expression and the legend of its lines."""
Panel = tuple[str, str, str, list[Query]]
"""Title, what to look for, unit, queries."""


def _rate(metric: str, *labels: str, by: str = "") -> str:
    matchers = ",".join([SELECTOR, *labels])
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, *labels: str) -> str:
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', *labels, by='le')})"


def _mean(metric: str) -> str:
    return f"{_rate(f'{metric}_sum')} / {_rate(f'{metric}_count')}"


def _gauge(metric: str, *labels: str, by: str = "instance", how: str = "max") -> str:
    return f"{how} by ({by}) ({metric}{{{','.join([SELECTOR, *labels])}}})"


def _budget(whose: str) -> str:
    return f"{M}:problems_{whose}:ratio_rate5m{{{SELECTOR}}}"


ROWS: list[tuple[str, list[Panel]]] = [
    (
        "Whose fault is it",
        [
            (
                "Failed requests, by the problem's side",
                "Credentials and spoiled batches show as the platform's: the runbook's table decides.",
                "percentunit",
                [(_budget("ours"), "ours"), (_budget("platform"), "the platform's"), (_budget("callers"), "callers'")],
            ),
            (
                "Problems",
                "Their slugs lead to docs/runbook.md.",
                "reqps",
                [(_rate(f"{M}_http_problems_total", 'route!="/readyz"', by="problem"), "{{problem}}")],
            ),
            (
                "Answers come from",
                "Refused means that the platform was not asked.",
                "ops",
                [(_rate(f"{M}_lookups_total", by="source"), "{{source}}")],
            ),
        ],
    ),
    (
        "Us",
        [
            (
                "Latency of lookups",
                "",
                "s",
                [
                    (_quantile(0.5, HTTP, LOOKUPS), "median"),
                    (_quantile(0.99, HTTP, LOOKUPS), "99 %"),
                ],
            ),
            (
                "Event-loop delay, 90 %",
                "Above 0.25 s the process has too much to do.",
                "s",
                [(_quantile(0.9, f"{M}_event_loop_delay_seconds"), "delay")],
            ),
            (
                "Queued ids",
                "At MAX_QUEUED_IDS they are refused. Polls take no room.",
                "short",
                [
                    (_gauge(f"{M}_queued_ids"), "{{instance}}"),
                    (_gauge(f"{M}_waiting_polls"), "polls, {{instance}}"),
                ],
            ),
            ("CPU", "One core is all that a process can use.", "percentunit",
             [(_rate("process_cpu_seconds_total", by="instance"), "{{instance}}")]),
            ("Memory", "", "bytes", [(_gauge("process_resident_memory_bytes"), "{{instance}}")]),
            (
                "Cached answers, and evictions a second",
                "Evictions mean that CACHE_MAX_ENTRIES is small for the demand.",
                "short",
                [
                    (_gauge(f"{M}_cache_entries"), "{{instance}}"),
                    (_rate(f"{M}_cache_evictions_total"), "evictions"),
                ],
            ),
            ("Shared cache by outcome", "All but ok and value: it fails. Nothing where CACHE_URL is memory.", "reqps",
             [(_rate(f"{M}_cache_request_duration_seconds_count", by="operation, outcome"),
               "{{operation}} {{outcome}}")]),
            (
                "Connections by state",
                "Many idle ones: somebody keeps them.",
                "short",
                [(_gauge(f"{M}_http_connections", by="state", how="sum"), "{{state}}")],
            ),
            (
                "Unread input of all connections",
                "At 48 MiB larger requests wait for smaller ones.",
                "bytes",
                [(_gauge(f"{M}_http_unread_bytes"), "{{instance}}")],
            ),
            (
                "Descriptors left",
                "At about 50 callers are turned away; below 16 what is kept for other things is nearly used up.",
                "short",
                [(_gauge(f"{M}_descriptors_left", how="min"), "{{instance}}")],
            ),
            (
                "Connections ended by a limit",
                "Anything but idle is somebody's fault.",
                "ops",
                [(_rate(f"{M}_http_connections_closed_total", by="limit"), "{{limit}}")],
            ),
            (
                "Log lines lost, and how long a write has waited",
                "Above 1 s nobody reads the log; lost lines are seen by nobody.",
                "short",
                [
                    (_rate(f"{M}_log_lines_lost_total", by="instance"), "lost a second, {{instance}}"),
                    (_gauge(f"{M}_log_stuck_seconds"), "seconds, {{instance}}"),
                ],
            ),
            (
                "Cache of two levels: hits, misses, dropped writes",
                "Nothing where CACHE_URL is memory.",
                "reqps",
                [
                    (_rate(f"{M}_cache_hits_total", by="level"), "{{level}}"),
                    (_rate(f"{M}_cache_misses_total"), "missed"),
                    (_rate(f"{M}_cache_writes_dropped_total"), "writes dropped"),
                ],
            ),
            ("Versions", "", "short", [(_gauge(f"{M}_build_info", by="version", how="count"), "{{version}}")]),
        ],
    ),
    (
        "The platform",
        [
            ("Upstream requests by result", "", "reqps", [(_rate(f"{UPSTREAM}_count", by="result"), "{{result}}")]),
            (
                "Latency of upstream requests",
                "",
                "s",
                [(_quantile(0.5, UPSTREAM), "median"), (_quantile(0.99, UPSTREAM), "99 %")],
            ),
            (
                "Ids in an upstream request",
                "Falls to 1 while batching is off.",
                "short",
                [
                    (_mean(f"{M}_upstream_request_entries"), "mean"),
                    (_gauge(f"{M}_batching_enabled", how="min"), "batching on, {{instance}}"),
                ],
            ),
            (
                "Requests in flight",
                "At UPSTREAM_MAX_IN_FLIGHT new ids wait.",
                "short",
                [(_gauge(f"{M}_upstream_in_flight"), "{{instance}}")],
            ),
            (
                "Circuit breaker and credential lockout",
                "Anything above 0 keeps requests at home.",
                "short",
                [
                    (_gauge(f"{M}_circuit_state", 'state!="closed"', by="state", how="sum"), "circuit {{state}}"),
                    (_gauge(f"{M}_latch_held", by="reason", how="sum"), "{{reason}}"),
                ],
            ),
            (
                "Retries",
                "Refused: the budget is empty, since too much fails.",
                "reqps",
                [(_rate(f"{M}_upstream_retries_total", by="decision"), "{{decision}}")],
            ),
            (
                "Oddities",
                "Undocumented states, documented ones in other words, unreadable fields; what told of lock-outs.",
                "ops",
                [
                    (_rate(f"{M}_lockouts_total", by="wording"), "lock-out: {{wording}}"),
                    (_rate(f"{M}_raw_words_total", by="word"), "{{word}}"),
                    (_rate(f"{M}_undocumented_states_total"), "undocumented states"),
                    (_rate(f"{M}_unreadable_fields_total", by="field"), "unreadable {{field}}"),
                ],
            ),
        ],
    ),
    (
        "The callers",
        [
            (
                "Requests by route",
                "",
                "reqps",
                [(_rate(f"{HTTP}_count", 'route!~"/livez|/readyz"', by="route, method"), "{{method}} {{route}}")],
            ),
            (
                "Refused by a limit of their own",
                "RATE_LIMIT, and the share of MAX_WAITERS that one caller may have.",
                "ops",
                [
                    (_rate(f"{M}_rate_limited_total", by="caller"), "requests, {{caller}}"),
                    (_rate(f"{M}_refused_waits_total", by="caller, limit"), "waits, {{caller}} ({{limit}})"),
                ],
            ),
            ("Requests by status", "", "reqps", [(_rate(f"{HTTP}_count", by="status"), "{{status}}")]),
            (
                "Who waits, and for how many messages",
                "At MAX_WAITERS more are refused.",
                "short",
                [
                    (_gauge(f"{M}_waited_messages", by="caller", how="sum"), "waited for, {{caller}}"),
                    (_gauge(f"{M}_waiters"), "waiters, {{instance}}"),
                    (_gauge(f"{M}_watched_ids"), "messages, {{instance}}"),
                ],
            ),
            (
                "Queued and refused ids by caller",
                "Each has its turn: who waits long, asks for much.",
                "short",
                [
                    (_gauge(f"{M}_waiting_ids", by="caller", how="sum"), "queued, {{caller}}"),
                    (_rate(f"{M}_refused_ids_total", by="caller"), "refused a second, {{caller}}"),
                ],
            ),
            (
                "The longest wait by caller",
                "",
                "s",
                [(_gauge(f"{M}_longest_wait_seconds", by="caller"), "{{caller}}")],
            ),
            (
                "Spoiled batches by caller",
                "Three within a minute isolate a caller.",
                "short",
                [
                    (_rate(f"{M}_spoiled_batches_total", by="caller"), "a second, {{caller}}"),
                    (_gauge(f"{M}_isolated", by="caller", how="sum"), "isolated, {{caller}}"),
                ],
            ),
            (
                "Rounds for those who wait, entries saved, and the webhook's entries",
                "",
                "ops",
                [
                    (_rate(f"{M}_watch_rounds_total"), "rounds"),
                    (_rate(f"{M}_saved_entries_total", by="by"), "saved by {{by}}"),
                    (_rate(f"{M}_webhook_entries_total", by="result"), "webhook: {{result}}"),
                ],
            ),
            (
                "Ids without an answer",
                "",
                "ops",
                [(_rate(f"{M}_lookup_failures_total", by="problem"), "{{problem}}")],
            ),
        ],
    ),
]  # fmt: skip

WIDTH, HEIGHT, COLUMNS = 8, 7, 3


def document(current: str = "") -> str:
    """The dashboard as Grafana imports it; it asks for the data source, and offers the jobs that there are."""
    del current
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append({"type": "row", "title": title, "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y += 1
        for index, panel in enumerate(row):
            place = {"x": index % COLUMNS * WIDTH, "y": y + index // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(panel, place))
        y += -(-len(row) // COLUMNS) * HEIGHT
    dashboard = {
        "title": "Message states",
        "uid": "message-state-proxy",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _jobs()]},
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, 1)],
    }
    return json.dumps(dashboard, indent=2) + "\n"


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    title, meaning, unit, queries = panel
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "type": "timeseries",
        "title": title,
        "description": meaning,
        "gridPos": place,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": expression, "legendFormat": legend, "datasource": source}
            for number, (expression, legend) in enumerate(queries)
        ],
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _jobs() -> dict[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "Job",
        "query": f"label_values({M}_build_info, job)",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
    }
