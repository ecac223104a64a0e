"""What the cache weighs: the service's memory while it fills with final states, up to a million."""

import sys
import tempfile
from pathlib import Path

from bench.candidates import Platform, service, started
from bench.load import fill
from bench.requests import FINAL, Runs

ENTRIES = (0, 50_000, 100_000, 250_000, 500_000, 750_000, 1_000_000)


def conduct(checkout: Path) -> dict[int, float]:
    """The resident set in MB of one process, by the number of states in its cache.

    The cache is filled as callers fill it, in batches of 1000 ids, from a sandbox that answers at once.
    """
    candidate = service(checkout, CACHE_MAX_ENTRIES=str(ENTRIES[-1]), UPSTREAM_BATCH_SIZE="1000")
    measured: dict[int, float] = {}
    runs = Runs()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        started(Platform(0.0, 16).candidate(), folder := Path(name)) as platform,
        started(candidate, folder, platform) as process,
    ):
        cached = 0
        for entries in ENTRIES:
            if entries > cached:
                fill(runs.fresh(FINAL, entries - cached), candidate, process.host)
            cached = entries
            measured[entries] = process.resident_mb()
            print(f"{entries:>9,} states in the cache: {measured[entries]:,.0f} MB", file=sys.stderr, flush=True)
    return measured
