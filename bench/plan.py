"""Which loads are run, against whom, before which platform - and running them."""

import datetime
import os
import platform as machine
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from bench.candidates import ORIGIN, PEERS, Candidate, Platform, service, started, wide
from bench.load import Load, LoadFailure, fill, run, tags
from bench.measurements import SETTLE_SECONDS, Sample, measure, settle
from bench.processes import Process, cores
from bench.requests import CHANGING, DOCUMENTED, FINAL, NO_TAGS, Ids, Runs
from bench.summary import Results, Start

ROUNDS = 3
MORE_ROUNDS = 5
"""Of the cases whose targets are a ratio or a time: one round differs from the next by a third."""
WARM_UP = (256, 2.0)
"""Connections and seconds of the load that every candidate gets before anything is measured."""
CPUINFO = Path("/proc/cpuinfo")
MAIN_CASE = "distinct-256"
ALL = ("service", "plain", "batched", "ceiling", "platform")
WITHOUT_PLATFORM = ("batched", "route", "bare", "service", "ceiling")
"""What is compared stands side by side: the machine's speed changes within seconds."""
BROWSER = (
    ("Origin", ORIGIN),
    ("Referer", f"{ORIGIN}/"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
    ),
    ("Accept", "*/*"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Accept-Language", "en-US,en;q=0.9"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Site", "same-site"),
)
"""What a page's ``fetch`` sends besides the caller's key."""
KNOWN_TAGS = 4
"""Every so manyth message of a browser is one whose entity tag it has."""
POLLED = Ids(1_000, CHANGING, 2000)
FINALS = Ids(100_000, FINAL, 1000)
CACHED = Ids(200_000, (*FINAL, 6), 1000)


@dataclass(frozen=True)
class Case:
    """A load. ``fresh``: last digits of ids that were never asked for, or none; ``known``: ids that were, by now.

    ``once``: candidates that run in the first of the ``rounds`` only. ``browser``: with the headers of one, and
    ``If-None-Match`` for a part of the messages.
    """

    name: str
    title: str
    connections: int
    seconds: float
    fresh: tuple[int, ...] = DOCUMENTED
    known: tuple[Ids, ...] = ()
    batch: int = 1
    single: bool = True
    burst: bool = False
    candidates: tuple[str, ...] = ("service", "plain", "ceiling")
    once: tuple[str, ...] = ()
    browser: bool = False
    rounds: int = ROUNDS

    def load(self, runs: Runs, known_tags: Mapping[int, str] = NO_TAGS) -> Load:
        """The load with ids of its own."""
        streams = ((runs.fresh(self.fresh),) if self.fresh else ()) + self.known
        headers = BROWSER if self.browser else ()
        return Load(streams, self.connections, self.seconds, self.batch, self.single, self.burst, headers, known_tags)


def _distinct(connections: int, seconds: float) -> Case:
    title = f"distinct ids, {connections} connection{'s' if connections > 1 else ''}"
    return Case(f"distinct-{connections}", title, connections, seconds, candidates=ALL)


def _batches(name: str, title: str, connections: int, batch: int, *peers: str, known: tuple[Ids, ...] = ()) -> Case:
    fresh = () if known else DOCUMENTED
    return Case(name, title, connections, 1, fresh, known, batch=batch, single=False, candidates=("service", *peers))


def _polled(name: str, title: str, *, browser: bool = False) -> Case:
    return Case(name, title, 256, 2, (), (POLLED,), candidates=WITHOUT_PLATFORM, browser=browser, rounds=MORE_ROUNDS)


MAIN = (
    replace(_distinct(1, 1), rounds=MORE_ROUNDS),
    _distinct(16, 1),
    _distinct(64, 1),
    replace(_distinct(256, 4), rounds=MORE_ROUNDS),
    # The plain proxy answers hardly anybody here, and then has to be started anew: ten seconds for nothing.
    replace(_distinct(1024, 3), once=("plain",)),
    _polled("polled", "2000 messages polled, 256 connections"),
    _polled("browser", "2000 messages polled with a browser's headers, 256 connections", browser=True),
    Case(
        "half-final",
        "half new ids, half final and known, 256 connections",
        256,
        2,
        CHANGING,
        (FINALS,),
        candidates=("service", "ceiling"),
    ),
    _batches("batch-100", "batches of 100 distinct ids, 16 connections", 16, 100, "plain", "batched"),
    _batches("batch-1000", "batches of 1000 distinct ids, 1 connection", 1, 1000, "wide", "plain", "batched"),
    _batches("cached-100", "the same batch of 100, 16 connections", 16, 100, "ceiling", known=(CACHED,)),
    _batches("cached-1000", "the same batch of 1000, 4 connections", 4, 1000, "ceiling", known=(CACHED,)),
    Case("burst", "256 callers at once, after a second of silence", 256, 20, burst=True),
)
FULL: tuple[tuple[Platform, tuple[Case, ...]], ...] = (
    (Platform(0.03, 16), MAIN),
    (Platform(0.1, 16), (Case("slow", "distinct ids, 256 connections", 256, 2, candidates=("service", "plain")),)),
    (Platform(0.03, 4), (Case("narrow", "distinct ids, 256 connections", 256, 2, candidates=("service", "plain")),)),
)
QUICK: tuple[tuple[Platform, tuple[Case, ...]], ...] = (
    (
        Platform(0.03, 16),
        (
            Case(MAIN_CASE, "distinct ids, 256 connections", 256, 4, candidates=("service", "batched", "ceiling")),
            _polled("polled", "2000 messages polled, 256 connections"),
        ),
    ),
)


def conduct(plan: tuple[tuple[Platform, tuple[Case, ...]], ...], checkout: Path) -> Results:
    """Run a plan. Within a round the candidates take turns at each case, so that a ratio compares neighbours in time.

    All of a platform's candidates run at once, idle but for the one that is measured.
    """
    results = Results(_machine(checkout))
    runs = Runs()
    for platform, cases in plan:
        names = {name for case in cases for name in case.candidates}
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            sandbox = stack.enter_context(started(platform.candidate(), folder))
            team: dict[str, tuple[Candidate, Process]] = {"platform": (platform.candidate(), sandbox)}
            for candidate in (service(checkout), wide(checkout), *PEERS):
                if candidate.name in names:
                    process = stack.enter_context(started(candidate, folder, sandbox))
                    team[candidate.name] = (candidate, process)
                    start = Start(process.start_seconds, process.resident_mb())
                    results.starts.setdefault(candidate.name, []).append(start)
            for candidate, process in team.values():
                _warm_up(candidate, process, sandbox, runs, folder)
            for number in range(max(case.rounds for case in cases)):
                for case in (each for each in cases if number < each.rounds):
                    _round(number, case, team, sandbox, results, runs, folder)
            results.titles |= {case.name: f"{case.title}; platform {platform.title}" for case in cases}
    return results


def _warm_up(candidate: Candidate, process: Process, sandbox: Process, runs: Runs, folder: Path) -> None:
    report = run(Load((runs.fresh(),), *WARM_UP), candidate, process.host, folder)
    if report.refused and not report.answered:
        raise LoadFailure(f"{candidate.name} refuses every request: {report}")
    settle(process, sandbox)


def _round(
    number: int,
    case: Case,
    team: dict[str, tuple[Candidate, Process]],
    sandbox: Process,
    results: Results,
    runs: Runs,
    folder: Path,
) -> None:
    for name in case.candidates if number % 2 == 0 else case.candidates[::-1]:
        if number and name in case.once:
            continue
        candidate, process = team[name]
        known_tags: dict[int, str] = {}
        for ids in case.known:
            fill(ids, candidate, process.host)
            if case.browser:
                known_tags |= tags(ids, KNOWN_TAGS, candidate, process.host)
        sample = measure(case.load(runs, known_tags), candidate, process, sandbox, folder)
        results.samples.setdefault((case.name, name), []).append(sample)
        print(
            f"{number + 1}/{case.rounds}  {case.name:<14}{name:<10}{sample.lookups_per_second:>9,.0f}/s  "
            f"p99 {sample.p99:>7,.1f} ms  {sample.cpu_per_lookup:>7.3f} ms CPU",
            file=sys.stderr,
            flush=True,
        )
        wrong = _wrong_after(sample, candidate, process, runs)
        if wrong:
            results.notes.append(f"{case.name}, round {number + 1}: {name} {wrong}, and was started anew.")
            print(results.notes[-1], file=sys.stderr)
            process.restart()
            _warm_up(candidate, process, sandbox, runs, folder)


def _wrong_after(sample: Sample, candidate: Candidate, process: Process, runs: Runs) -> str:
    """What keeps the candidate from being measured again, in words; empty where nothing does."""
    if not sample.settled:
        return f"was still at work on its backlog after {SETTLE_SECONDS:g} s"
    try:
        fill(runs.fresh(count=1), candidate, process.host)
    except (LoadFailure, OSError):
        return "answered no more afterwards"
    return ""


def _machine(checkout: Path) -> dict[str, str]:
    """What the numbers depend on."""
    named = (line.partition(":")[2].strip() for line in CPUINFO.read_text().splitlines() if "model name" in line)
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True, check=False
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "uvloop", "httpx", "pydantic"))
    return {
        "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": git.stdout.strip() or "unknown",
        "processor": f"{os.cpu_count()} x {next(named, machine.machine())}",
        "pinned": "candidates to one core, load and platform to another" if cores() else "no",
        "load": "wrk; the burst in Python" if shutil.which("wrk") else "Python (wrk is not installed)",
        "python": machine.python_version(),
        "packages": packages,
    }
