"""Several processes on one Redis: how lookups grow with them, and how much more the platform is asked.

Nothing is pinned here: the processes, the load, Redis and the platform share the cores that there are. So the growth
that is seen ends where the cores do; CPU per lookup tells what it would be with more of them.
"""

import contextlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import Candidate, Platform, service, started
from bench.load import Load, Report, fill, run
from bench.measurements import counters, settle
from bench.processes import Process
from bench.replicas import redis
from bench.requests import CHANGING, DOCUMENTED, Ids, Runs

PROCESSES = (1, 2, 4)
CONNECTIONS = 256
SECONDS = 4.0
WARM_UP_SECONDS = 1.0
PLATFORM = Platform(0.03, 64)
"""Places enough for the requests of all processes at once."""
POLLED = Ids(1_000, CHANGING, 2000)
LOADS = ("distinct ids", "2000 messages polled")


@dataclass(frozen=True)
class Scaled:
    """What some processes did together. CPU is that of the service, in milliseconds for each lookup."""

    load: str
    processes: int
    lookups_per_second: float
    cpu_ms: float
    entries_per_lookup: float
    requests_per_lookup: float
    failed: int


def conduct(checkout: Path) -> list[Scaled]:
    """Measure each number of processes with each load."""
    runs = Runs()
    return [_measure(checkout, runs, load, number) for load in LOADS for number in PROCESSES]


def lines(measured: list[Scaled]) -> list[str]:
    """The table."""
    table = [
        f"{os.cpu_count()} cores for everything; {CONNECTIONS} connections in all; platform {PLATFORM.title}",
        "",
        "| load | processes | lookups/s | CPU ms per lookup | entries per lookup | requests per lookup | failed |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    return table + [
        f"| {each.load} | {each.processes} | {each.lookups_per_second:,.0f} | {each.cpu_ms:.3f} "
        f"| {each.entries_per_lookup:.3f} | {each.requests_per_lookup:.4f} | {each.failed} |"
        for each in measured
    ]


def _measure(checkout: Path, runs: Runs, load: str, number: int) -> Scaled:
    with tempfile.TemporaryDirectory(prefix="scaling-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        platform = stack.enter_context(started(PLATFORM.candidate(), folder, pin=False))
        url = stack.enter_context(redis(folder))[0]
        candidates = [service(checkout, CACHE_URL=url) for _ in range(number)]
        processes = [stack.enter_context(started(each, folder, platform, pin=False)) for each in candidates]
        if load == LOADS[1]:
            for candidate, process in zip(candidates, processes, strict=True):
                fill(POLLED, candidate, process.host)
        _ask(candidates, processes, _loads(load, runs, number, WARM_UP_SECONDS), folder)
        for process in processes:
            settle(process, platform)
        before, cpu = counters(platform), sum(process.cpu_seconds() for process in processes)
        reports = _ask(candidates, processes, _loads(load, runs, number, SECONDS), folder)
        for process in processes:
            settle(process, platform)
        after, used = counters(platform), sum(process.cpu_seconds() for process in processes) - cpu
    answered = sum(report.answered for report in reports)
    return Scaled(
        load,
        number,
        sum(report.answered / report.seconds for report in reports),
        used / answered * 1e3,
        (after.entries - before.entries) / answered,
        (after.requests - before.requests) / answered,
        sum(report.refused + report.broken for report in reports),
    )


def _loads(load: str, runs: Runs, number: int, seconds: float) -> list[Load]:
    """One for each process: new ids of its own, or the messages that all of them are asked for."""
    return [
        Load((runs.fresh(DOCUMENTED) if load == LOADS[0] else POLLED,), CONNECTIONS // number, seconds)
        for _ in range(number)
    ]


def _ask(candidates: list[Candidate], processes: list[Process], loads: list[Load], folder: Path) -> list[Report]:
    def ask(place: int) -> Report:
        own = folder / str(place)
        own.mkdir(exist_ok=True)
        return run(loads[place], candidates[place], processes[place].host, own, pin=False)

    with ThreadPoolExecutor(len(processes)) as pool:
        return list(pool.map(ask, range(len(processes))))
