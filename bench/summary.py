"""From samples to statements: medians with their spread, ratios within a round, and the targets."""

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bench.measurements import Sample
from bench.neighbour import Neighbour, Quiet


class Spread(NamedTuple):
    """The median of some rounds, and the lowest and highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Start(NamedTuple):
    """From the command line to the first answer, and the memory held then."""

    seconds: float
    resident_mb: float


@dataclass
class Results:
    """Everything that was measured: the samples of each case and candidate in the order of the rounds.

    ``memory``: MB of the service by the number of states in its cache. ``neighbours``: what a quiet caller notices of
    a loud one, by situation. ``notes``: what a reader of the numbers has to
    know besides, one sentence each.
    """

    machine: dict[str, str]
    titles: dict[str, str] = field(default_factory=dict)
    starts: dict[str, list[Start]] = field(default_factory=dict)
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def values(self, case: str, candidate: str, name: str) -> list[float]:
        """One field of all rounds. Raises KeyError for what was not measured."""
        return [getattr(sample, name) or 0.0 for sample in self.samples[case, candidate]]

    def ratios(self, case: str, name: str, candidate: str, other: str) -> list[float]:
        """One candidate's field divided by the other's, round by round."""
        pairs = zip(self.values(case, candidate, name), self.values(case, other, name), strict=True)
        return [mine / theirs if theirs else 0.0 for mine, theirs in pairs]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        samples = [
            {"case": case, "candidate": candidate, "round": number} | dataclasses.asdict(sample)
            for (case, candidate), rounds in self.samples.items()
            for number, sample in enumerate(rounds, 1)
        ]
        starts = {name: [start._asdict() for start in each] for name, each in self.starts.items()}
        return {
            "machine": self.machine,
            "cases": self.titles,
            "starts": starts,
            "samples": samples,
            "memory": list(self.memory.items()),
            "neighbours": {name: dataclasses.asdict(each) for name, each in self.neighbours.items()},
            "notes": self.notes,
        }

    @classmethod
    def load(cls, document: dict[str, Any]) -> "Results":
        """From the JSON."""
        starts = {name: [Start(**start) for start in each] for name, each in document["starts"].items()}
        results = cls(document["machine"], document["cases"], starts)
        results.memory = dict(document["memory"])
        results.neighbours = {
            name: Neighbour(**entry | {"alone": Quiet(**entry["alone"]), "beside": Quiet(**entry["beside"])})
            for name, entry in document.get("neighbours", {}).items()
        }
        results.notes = document["notes"]
        for entry in document["samples"]:
            case, candidate = entry["case"], entry["candidate"]
            values = {each.name: entry[each.name] for each in dataclasses.fields(Sample)}
            results.samples.setdefault((case, candidate), []).append(Sample(**values))
        return results


@dataclass(frozen=True)
class Target:
    """A promise: what is measured in each round, and the bound that the median must keep."""

    title: str
    values: Callable[[Results], list[float]]
    bound: float
    at_least: bool = True
    digits: int = 0

    def kept(self, results: Results) -> bool:
        """Whether the median keeps the bound."""
        median = statistics.median(self.values(results))
        return median >= self.bound if self.at_least else median <= self.bound


def _above_the_platform(results: Results) -> list[float]:
    own = results.values("distinct-1", "platform", "p50")
    return [mine - theirs for mine, theirs in zip(results.values("distinct-1", "service", "p50"), own, strict=True)]


def _platform_times(results: Results, case: str) -> list[float]:
    own = results.values("distinct-1", "platform", "p50")
    # One of them may have had more rounds.
    return [mine / theirs for mine, theirs in zip(results.values(case, "service", "p50"), own, strict=False)]


MAIN = "distinct-256"
TARGETS = (
    Target("256 connections, distinct ids: lookups/s, times the plain proxy's",
           lambda r: r.ratios(MAIN, "lookups_per_second", "service", "plain"), 20, digits=1),
    Target("… times the day's work's (aiodataloader, cachetools)",
           lambda r: r.ratios(MAIN, "lookups_per_second", "service", "batched"), 1.9, digits=2),
    Target("… p50, platform times", lambda r: _platform_times(r, MAIN), 1.4, at_least=False, digits=2),
    Target("… p99, ms", lambda r: r.values(MAIN, "service", "p99"), 250, at_least=False),
    Target("… ids per upstream request", lambda r: r.values(MAIN, "service", "ids_per_request"), 45),
    Target("… CPU per lookup, times the ceiling's",
           lambda r: r.ratios(MAIN, "cpu_per_lookup", "service", "ceiling"), 1.6, at_least=False, digits=2),
    Target("1 connection: median above the platform's own, ms", _above_the_platform, 2, at_least=False, digits=1),
    Target("polled messages: lookups/s, of the bare ASGI app's",
           lambda r: r.ratios("polled", "lookups_per_second", "service", "bare"), 0.55, digits=2),
    Target("… p99, times that of FastAPI's typed route",
           lambda r: r.ratios("polled", "p99", "service", "ceiling"), 1.0, at_least=False, digits=2),
    Target("… with a browser's headers: lookups/s, of the bare ASGI app's",
           lambda r: r.ratios("browser", "lookups_per_second", "service", "bare"), 0.45, digits=2),
    Target("batches of 1000 cached ids: ids/s",
           lambda r: r.values("cached-1000", "service", "lookups_per_second"), 40_000),
    Target("a batch of 1000 distinct ids: median, times the platform's own",
           lambda r: _platform_times(r, "batch-1000"), 4, at_least=False, digits=1),
    Target("start to ready, s", lambda r: [each.seconds for each in r.starts["service"]], 1.5,
           at_least=False, digits=2),
    Target("memory at rest, MB", lambda r: [each.resident_mb for each in r.starts["service"]], 90, at_least=False),
    Target("a million cached final states: MB more", lambda r: [r.memory[1_000_000] - r.memory[0]], 400,
           at_least=False),
)  # fmt: skip


def judged(results: Results) -> list[tuple[Target, Spread, bool]]:
    """Every target whose cases were run: what was measured, and whether it is kept."""
    verdicts = []
    for target in TARGETS:
        try:
            spread = Spread.of(target.values(results))
        except KeyError:
            continue
        verdicts.append((target, spread, target.kept(results)))
    return verdicts
