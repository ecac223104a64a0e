"""Mixed load for minutes, and whether the service's memory grows under it."""

import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.candidates import Platform, service, started
from bench.load import Load, fill, run
from bench.plan import FINALS, POLLED
from bench.requests import CHANGING, DOCUMENTED, UNKNOWN, Runs

LIMIT_MB = 8.0
"""Growth that is allowed from the first fifth after the warm-up to the last: the allocator's own ups and downs."""
WARM_UP_SHARE = 0.2
TURN_SECONDS = 3.0
CACHE_MAX_ENTRIES = 20_000
"""Filled before it begins, so that a cache that fills is not taken for a leak; from then on it evicts."""


def mixture(runs: Runs) -> list[Load]:
    """One round of what callers do, each on new connections: distinct ids, polling, known final states, batches
    with ids that the platform does not know, and many callers at once."""
    return [
        Load((runs.fresh(),), 64, TURN_SECONDS),
        Load((POLLED,), 256, TURN_SECONDS),
        Load((runs.fresh(CHANGING), FINALS), 128, TURN_SECONDS),
        Load((runs.fresh((*DOCUMENTED, UNKNOWN)),), 4, TURN_SECONDS, batch=100, single=False),
        Load((runs.fresh(),), 256, 20, burst=True),
    ]


def growth(resident_mb: list[float]) -> float:
    """MB by which the median of the last fifth lies above that of the first fifth after the warm-up."""
    settled = resident_mb[int(len(resident_mb) * WARM_UP_SHARE) :]
    fifth = max(1, len(settled) // 5)
    return statistics.median(settled[-fifth:]) - statistics.median(settled[:fifth])


def conduct(checkout: Path, seconds: float, limit_mb: float) -> bool:
    """Run it and print what was seen. Whether the growth stays within the limit."""
    runs = Runs()
    resident: list[float] = []
    answered = failed = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        candidate = service(checkout, CACHE_MAX_ENTRIES=str(CACHE_MAX_ENTRIES))
        platform = Platform(0.03, 16).candidate()
        with started(platform, folder) as sandbox, started(candidate, folder, sandbox) as process:
            print(f"at rest {process.resident_mb():.1f} MB", flush=True)
            fill(runs.fresh(count=CACHE_MAX_ENTRIES), candidate, process.host)
            fill(FINALS, candidate, process.host)
            begun = time.monotonic()
            for load in itertools.chain.from_iterable(mixture(runs) for _ in itertools.count()):
                report = run(load, candidate, process.host, folder)
                process.forget_log()
                answered += report.answered * load.batch
                failed += report.refused + report.broken
                resident.append(process.resident_mb())
                passed = time.monotonic() - begun
                print(f"{passed:6.0f} s  {resident[-1]:6.1f} MB  {answered:>9,} lookups", file=sys.stderr, flush=True)
                if passed >= seconds:
                    break
    grown = growth(resident)
    print(
        f"{answered:,} lookups in {passed:.0f} s, {failed} requests failed; memory grew by {grown:.1f} MB "
        f"after the warm-up (allowed: {limit_mb:g})"
    )
    return grown <= limit_mb
