"""One measured run: a load against a candidate, and what it cost there and at the platform."""

import json
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import Candidate
from bench.load import Load, run
from bench.processes import Process

SETTLE_STEP, SETTLE_SECONDS = 0.15, 6.0
"""A step is longer than the slowest sandbox takes for a request, so that one at work shows in its counters."""
QUIET = 0.011
"""CPU seconds in a step: one tick of the kernel's count is what a server does for its own timers."""


@dataclass(frozen=True)
class Sample:
    """What one run found. Times are in milliseconds, 0 where nothing was answered in time; ``failed``
    counts requests refused or never answered. Not ``settled``: the candidate was still at work on what the run had left
    behind when patience ended; CPU and upstream requests are lower bounds then.

    ``ids_per_request``: None where nothing reached the platform. ``own_core`` and ``load_core``: how busy the
    candidate, and wrk with the sandbox, kept their cores. With the second close to 1 it is they who were measured;
    with the first well below 1 where throughput is the question, something else had the core.
    """

    lookups_per_second: float
    p50: float
    p99: float
    p999: float
    cpu_per_lookup: float
    resident_mb: float
    requests_per_lookup: float
    entries_per_lookup: float
    ids_per_request: float | None
    failed: int
    settled: bool
    own_core: float
    load_core: float


@dataclass(frozen=True)
class Counters:
    """What the sandbox has been asked so far."""

    requests: int
    entries: int


def counters(platform: Process) -> Counters:
    """Ask the sandbox."""
    with urllib.request.urlopen(f"http://{platform.host}/counters", timeout=30) as reply:
        return Counters(**json.loads(reply.read()))


def settle(process: Process, platform: Process) -> bool:
    """Wait until both are done, for work left over must not be in the next run's way. Whether they are."""
    until = time.perf_counter() + SETTLE_SECONDS
    asked, cpu = counters(platform), process.cpu_seconds()
    while time.perf_counter() < until:
        time.sleep(SETTLE_STEP)
        asked_now, cpu_now = counters(platform), process.cpu_seconds()
        if asked_now == asked and cpu_now - cpu < QUIET:
            return True
        asked, cpu = asked_now, cpu_now
    return False


def measure(load: Load, candidate: Candidate, process: Process, platform: Process, folder: Path) -> Sample:
    """Run a load and tell what it cost.

    When the time is up each connection still waits for an answer that nobody will read, but which the candidate
    works for. CPU and upstream requests are therefore read after that work too, and shared among all lookups sent.
    """
    asked, cpu, sandbox_cpu = counters(platform), process.cpu_seconds(), platform.cpu_seconds()
    report = run(load, candidate, process.host, folder)
    busy = process.cpu_seconds() - cpu
    load_busy = report.load_cpu_seconds + platform.cpu_seconds() - sandbox_cpu
    resident = process.resident_mb()
    settled = settle(process, platform)
    after = counters(platform)
    unfinished = 0 if load.burst else load.connections
    sent = (report.answered + report.refused + unfinished) * load.batch
    requests, entries = after.requests - asked.requests, after.entries - asked.entries
    process.forget_log()
    return Sample(
        lookups_per_second=report.answered * load.batch / report.seconds,
        p50=report.p50,
        p99=report.p99,
        p999=report.p999,
        cpu_per_lookup=(process.cpu_seconds() - cpu) / sent * 1000,
        resident_mb=resident,
        requests_per_lookup=requests / sent,
        entries_per_lookup=entries / sent,
        ids_per_request=entries / requests if requests else None,
        failed=report.refused + report.broken,
        settled=settled,
        own_core=busy / report.seconds,
        load_core=load_busy / report.seconds,
    )
