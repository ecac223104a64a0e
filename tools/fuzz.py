"""``make fuzz``: generated requests against ``python -m app``, with every check that schemathesis has.

Ends with status 1 at the first round that finds an answer outside the document, and where the service's log has a
traceback.
"""

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path

import schemathesis

from tests.support import fuzzing
from tests.support.running import running

EXAMPLES = 700
DOCUMENT = Path(__file__).parent.parent / "openapi" / "openapi.yaml"

# The sandbox never answers one of its ids, and locks its account at another: without short times most answers of
# a round would be the problem that says so.
SERVICE: Mapping[str, str] = {
    "UPSTREAM_URL": "sandbox:",
    "UPSTREAM_CONNECT_TIMEOUT": "0.02",
    "UPSTREAM_ATTEMPT_TIMEOUT": "0.02",
    "REQUEST_DEADLINE": "0.1",
    "API_KEYS": f"fuzzer:{fuzzing.KEY}",
    "METRICS_PORT": "0",
    "LOG_LEVEL": "warning",
}


def one_round(url: str, seed: int) -> tuple[int, list[str]]:
    """The requests of one seed; how many, and what was wrong."""
    logging.disable()
    schema = schemathesis.openapi.from_path(DOCUMENT, config=fuzzing.configuration(EXAMPLES, seed=seed, url=url))
    results = list(fuzzing.run(schema))
    return sum(asked for asked, _ in results), [line for _, wrong in results for line in wrong]


def rounds(url: str, requests: int, first_seed: int, workers: int) -> tuple[int, list[str]]:
    """Rounds with one seed after the other until there are enough requests, or something is wrong."""
    total, seed, began = 0, first_seed, time.monotonic()
    running_rounds: set[Future[tuple[int, list[str]]]] = set()
    with ProcessPoolExecutor(workers) as pool:
        while total < requests:
            while len(running_rounds) < workers:
                running_rounds.add(pool.submit(one_round, url, seed))
                seed += 1
            done, running_rounds = wait(running_rounds, return_when=FIRST_COMPLETED)
            for asked, wrong in (each.result() for each in done):
                total += asked
                if wrong:
                    return total, wrong
            print(f"{total} requests in {time.monotonic() - began:.0f} s", flush=True)
    return total, []


async def fuzz(requests: int, seed: int, workers: int) -> int:
    """Start the service, ask, look into its log; the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        async with running(SERVICE, Path(folder)) as service:
            total, wrong = await asyncio.to_thread(rounds, service.url, requests, seed, workers)
            alive = service.process.returncode is None
        tracebacks = service.text.count("Traceback")
    for line in wrong[:20]:
        print(line)
    print(
        f"{total} requests, {len(wrong)} answers outside the document, {tracebacks} tracebacks in the log, "
        f"the service {'still runs' if alive else 'has ended'}"
    )
    return 1 if wrong or tracebacks or not alive else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="the first round's; each further round has the next one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    sys.exit(asyncio.run(fuzz(options.requests, options.seed, options.workers)))
