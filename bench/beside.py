"""Two versions at once on one core: what a change costs, on a machine whose speed changes within seconds.

Both servers, and uvicorn with a bare ASGI app as a measure, share the first core, and each gets the same load from the
second. So whatever else runs on the machine slows all of them alike, and the ratio of their CPU for each lookup stays.
Sharing a core's caches costs each of them more than being alone there; only the ratio of two versions says something.
"""

import contextlib
import dataclasses
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.candidates import BARE, ROOT, Candidate, Platform, service, started
from bench.load import Load, fill, run
from bench.measurements import settle
from bench.plan import BROWSER, POLLED
from bench.processes import Process
from bench.requests import DOCUMENTED, Runs

ROUNDS = 5
CONNECTIONS = 128
SECONDS = 4.0
WARM_UP_SECONDS = 1.0
PLATFORM = Platform(0.03, 64)
"""Places enough for the requests of both."""
LOADS = ("distinct ids", "2000 messages polled", "the same with a browser's headers")


def conduct(other: Path) -> list[str]:
    """Measure this checkout beside the other one. Returns the table."""
    table = [
        f"CPU us per lookup, the median of {ROUNDS} rounds; {CONNECTIONS} connections each; platform {PLATFORM.title}",
        "",
        "| load | this checkout | the other | bare ASGI app | this, of the other's | lowest - highest |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    with tempfile.TemporaryDirectory(prefix="beside-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        platform = stack.enter_context(started(PLATFORM.candidate(), folder))
        this, others = service(ROOT), dataclasses.replace(service(other), name="other")
        team = [(each, stack.enter_context(started(each, folder, platform))) for each in (this, others, BARE)]
        runs = Runs()
        for load in LOADS:
            _round(team, platform, load, WARM_UP_SECONDS, runs, folder)
            rounds = [_round(team, platform, load, SECONDS, runs, folder) for _ in range(ROUNDS)]
            medians = [f"{statistics.median(each):.0f}" for each in zip(*rounds, strict=True)]
            ratios = [each[0] / each[1] for each in rounds]
            table.append(
                f"| {load} | {' | '.join(medians)} | {statistics.median(ratios):.2f} "
                f"| {min(ratios):.2f} - {max(ratios):.2f} |"
            )
    return table


def _round(
    team: list[tuple[Candidate, Process]], platform: Process, load: str, seconds: float, runs: Runs, folder: Path
) -> list[float]:
    """Microseconds of CPU that a lookup takes each of them."""
    for candidate, process in team:
        if load != LOADS[0]:
            fill(POLLED, candidate, process.host)
    for _, process in team:
        settle(process, platform)
    before = [process.cpu_seconds() for _, process in team]
    loads = [_load(load, seconds, runs) for _ in team]

    def ask(place: int) -> int:
        candidate, process = team[place]
        own = folder / str(place)
        own.mkdir(exist_ok=True)
        return run(loads[place], candidate, process.host, own).answered

    with ThreadPoolExecutor(len(team)) as pool:
        answered = list(pool.map(ask, range(len(team))))
    for _, process in team:
        settle(process, platform)
        process.forget_log()
    return [
        (process.cpu_seconds() - cpu) / number * 1e6
        for (_, process), cpu, number in zip(team, before, answered, strict=True)
    ]


def _load(load: str, seconds: float, runs: Runs) -> Load:
    ids = runs.fresh(DOCUMENTED) if load == LOADS[0] else POLLED
    return Load((ids,), CONNECTIONS, seconds, headers=BROWSER if load == LOADS[2] else ())
