"""What a benchmark leaves behind: ``latest.json``, the plots beside it, and the tables in ``docs/performance.md``."""

import json

from bench.candidates import PEERS, ROOT, wide
from bench.neighbour import lines
from bench.plots import Point, chart
from bench.summary import Results, Spread, judged

FOLDER = ROOT / "bench" / "results"
LATEST = FOLDER / "latest.json"
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
TITLES = {
    "service": "this service",
    "wide": wide(ROOT).title,
    **{peer.name: peer.title for peer in PEERS},
    "platform": "the platform itself",
}
CALLERS = (1, 16, 64, 256, 1024)


def write(results: Results) -> None:
    """All of it."""
    FOLDER.mkdir(exist_ok=True)
    LATEST.write_text(json.dumps(results.document(), indent=1) + "\n")
    for name, svg in plots(results).items():
        (FOLDER / f"{name}.svg").write_text(svg)
    DOCUMENT.write_text(between_marks(DOCUMENT.read_text(), tables(results)))


def latest() -> Results:
    """What was written last."""
    return Results.load(json.loads(LATEST.read_text()))


def between_marks(document: str, text: str) -> str:
    """The document with this text between its two marks. Raises ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END} in the document")
    return f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}"


def tables(results: Results) -> str:
    """The part of ``docs/performance.md`` that is measured."""
    return "\n".join(
        [
            *_machine(results),
            "",
            *_targets(results),
            "",
            *_starts(results),
            "",
            *_memory(results),
            *_neighbours(results),
            *_samples(results),
            *_notes(results),
            "",
        ]
    )


def plots(results: Results) -> dict[str, str]:
    """SVG by name, of the sweep over connections and of the memory where that was measured."""
    swept = [callers for callers in CALLERS if (f"distinct-{callers}", "service") in results.samples]
    drawn = {}
    if swept:
        drawn["throughput"] = chart(
            "Distinct ids: lookups a second", "connections", "lookups/s",
            _sweep(results, swept, "lookups_per_second"), log_x=True, log_y=True,
        )  # fmt: skip
        drawn["p99"] = chart(
            "Distinct ids: p99", "connections", "ms", _sweep(results, swept, "p99"), log_x=True, log_y=True
        )
        drawn["upstream"] = chart(
            "Distinct ids: what reaches the platform", "lookups/s", "upstream requests/s",
            {TITLES[name]: _upstream(results, swept, name) for name in ("service", "plain")}, log_x=True, log_y=True,
        )  # fmt: skip
    if results.memory:
        points: list[Point] = list(results.memory.items())
        drawn["memory"] = chart(
            "Memory of the cache", "cached final states", "MB", {"this service": points}, log_x=False, log_y=False
        )
    return drawn


def _sweep(results: Results, swept: list[int], field: str) -> dict[str, list[Point]]:
    """The medians of a field, but for those that are 0: nothing was answered there, and no logarithm is."""
    return {
        title: [
            (callers, median)
            for callers in swept
            if (f"distinct-{callers}", name) in results.samples
            and (median := Spread.of(results.values(f"distinct-{callers}", name, field)).median)
        ]
        for name, title in TITLES.items()
    }


def _upstream(results: Results, swept: list[int], name: str) -> list[Point]:
    points = []
    for callers in swept:
        case = f"distinct-{callers}"
        rate = Spread.of(results.values(case, name, "lookups_per_second")).median
        if rate:
            points.append((rate, rate * Spread.of(results.values(case, name, "requests_per_lookup")).median))
    return sorted(points)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _machine(results: Results) -> list[str]:
    return ["; ".join(f"{name}: {value}" for name, value in results.machine.items()) + "."]


def _targets(results: Results) -> list[str]:
    rows = [_row("target", "bound", "measured", "lowest - highest", "kept"), "|---|---|--:|--:|---|"]
    for target, spread, kept in judged(results):
        bound = f"{'at least' if target.at_least else 'at most'} {target.bound:,g}"
        median, low, high = (f"{value:,.{target.digits}f}" for value in spread)
        rows.append(_row(target.title, bound, median, f"{low} - {high}", "yes" if kept else "**no**"))
    return rows


def _starts(results: Results) -> list[str]:
    rows = [_row("", "start to ready, s", "memory at rest, MB"), "|---|--:|--:|"]
    for name, starts in results.starts.items():
        seconds = Spread.of([start.seconds for start in starts]).median
        resident = Spread.of([start.resident_mb for start in starts]).median
        rows.append(_row(TITLES[name], f"{seconds:.2f}", f"{resident:.0f}"))
    return rows


def _memory(results: Results) -> list[str]:
    if not results.memory:
        return []
    return [
        _row("final states in the cache", *(f"{entries:,}" for entries in results.memory)),
        "|---|" + "--:|" * len(results.memory),
        _row("memory, MB", *(f"{mb:,.0f}" for mb in results.memory.values())),
        "",
    ]


def _neighbours(results: Results) -> list[str]:
    return [*lines(results.neighbours), ""] if results.neighbours else []


def _notes(results: Results) -> list[str]:
    return [f"- {note}" for note in results.notes]


def _samples(results: Results) -> list[str]:
    lines = []
    for case, title in results.titles.items():
        head = _row(
            title[0].upper() + title[1:], "lookups/s", "lowest - highest", "p50 ms", "p99 ms", "p99.9 ms",
            "CPU ms per lookup", "MB", "upstream requests per lookup", "entries per lookup", "failed", "core busy",
            "load's core busy",
        )  # fmt: skip
        lines += [head, "|---|" + "--:|" * 12]
        for name, candidate in TITLES.items():
            if (case, name) not in results.samples:
                continue

            def median(field: str, case: str = case, name: str = name) -> float:
                return Spread.of(results.values(case, name, field)).median

            rate = Spread.of(results.values(case, name, "lookups_per_second"))
            lines.append(
                _row(
                    candidate,
                    f"{rate.median:,.0f}",
                    f"{rate.low:,.0f} - {rate.high:,.0f}",
                    *(f"{median(field):,.1f}" if median(field) else "-" for field in ("p50", "p99", "p999")),
                    f"{median('cpu_per_lookup'):.3f}",
                    f"{median('resident_mb'):.0f}",
                    f"{median('requests_per_lookup'):.4f}",
                    f"{median('entries_per_lookup'):.2f}",
                    f"{median('failed'):,.0f}",
                    f"{median('own_core'):.0%}",
                    f"{median('load_core'):.0%}",
                )
            )
        lines.append("")
    return lines
