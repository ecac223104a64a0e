"""``python -m bench``: the whole benchmark; ``quick``: the main case only, nothing written; ``soak``: minutes of
mixed load, exit status 1 where memory grows; ``replicas``: three processes on one Redis, exit status 1 where they share
too little; ``paused-redis``: what a Redis that hangs costs; ``waiters``: what ten thousand that wait
cost, exit status 1 where it is too much; ``neighbour``: what one caller notices of a loud one, exit status 1 where it
is too much; ``scaling``: 1, 2 and 4 processes on one Redis; ``beside``: this checkout and that of ``--service`` at once
on one core, to see what a change costs; ``phones-off``: the entries an hour for a page whose
messages stay pending, exit status 1 where they are too many; ``report``: the documents again from the last results."""

import argparse
import resource
import signal
import sys
import time
from pathlib import Path

from bench import beside, memory, neighbour, phones_off, plan, replicas, report, scaling, soak, waiters
from bench.candidates import ROOT

WHAT = (
    "full",
    "quick",
    "soak",
    "replicas",
    "paused-redis",
    "waiters",
    "neighbour",
    "scaling",
    "beside",
    "phones-off",
    "report",
)
FILES = 16_384
"""Open files: 10,000 waiters need more than the 1024 that many machines allow at first."""


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=WHAT, default="full")
    parser.add_argument("--service", type=Path, default=ROOT, help="a checkout whose service is measured instead")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long a soak takes (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=soak.LIMIT_MB, help="MB that a soak may grow by (default: %(default)s)"
    )
    parser.add_argument("--replicas", type=int, default=1, help="processes that show the page (default: %(default)s)")
    parser.add_argument("--hours", type=int, default=2, help="hours of the page, 3 minutes each (default: %(default)s)")
    parser.add_argument(
        "--lifetimes", choices=phones_off.SETTINGS, default="the defaults", help="of the page (default: %(default)s)"
    )
    options = parser.parse_args()
    # Leave by way of the exits, so that no server outlives the benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        enough = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
    checkout = options.service.resolve()
    if options.what == "soak":
        sys.exit(0 if soak.conduct(checkout, options.minutes * 60, options.limit) else 1)
    if options.what == "replicas":
        shared = replicas.conduct(checkout)
        sys.exit(0 if replicas.conduct_watching(checkout) and shared else 1)
    if options.what == "paused-redis":
        replicas.conduct_paused(checkout)
        return
    if options.what == "waiters":
        sys.exit(0 if waiters.conduct(checkout) else 1)
    if options.what == "neighbour":
        measured = neighbour.conduct(checkout)
        print("\n".join(neighbour.lines(measured)))
        sys.exit(0 if all(each.bearable for each in measured.values()) else 1)
    if options.what == "scaling":
        print("\n".join(scaling.lines(scaling.conduct(checkout))))
        return
    if options.what == "beside":
        print("\n".join(beside.conduct(checkout)))
        return
    if options.what == "phones-off":
        within = phones_off.conduct(checkout, options.replicas, options.hours, options.lifetimes)
        sys.exit(0 if within else 1)
    if options.what == "report":
        report.write(report.latest())
        return
    started = time.monotonic()
    full = options.what == "full"
    results = plan.conduct(plan.FULL if full else plan.QUICK, checkout)
    if full:
        results.memory = memory.conduct(checkout)
        results.neighbours = neighbour.conduct(checkout)
        report.write(results)
    print(report.tables(results))
    print(f"took {time.monotonic() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
