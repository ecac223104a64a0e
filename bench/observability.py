"""``python -m bench.observability``: what metrics and access log cost a request, and whether their series grow.

In process, without a server: the application is called as uvicorn would call it, for states that are cached, so that as
little as possible stands beside what is measured. The log is written to a file. Short rounds with
and without take turns. What else runs on the machine only ever makes a round longer, so the two are compared by their
shortest rounds, as Python's `timeit` does.
"""

import argparse
import asyncio
import itertools
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from typing import Any, TextIO

from fastapi import FastAPI

from app.api.access_log import AccessLog
from app.api.request_context import EveryRequest
from app.main import create_app
from app.settings import Settings
from app.telemetry.logs import AccessLine, configure_logs
from app.telemetry.metrics import Metrics

ROUNDS, REQUESTS = 800, 20
KNOWN = 82216
METHODS = ("GET", "GET", "GET", "POST", "BREW", "DELETE", "HEAD")


def request(number: int, *, method: str = "GET", path: str | None = None) -> dict[str, Any]:
    """The scope of a request as uvicorn makes it, with the headers of a common client."""
    path = path or f"/messages/{KNOWN}/state"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000 + number % 10000),
        "scheme": "http",
        "method": method,
        "root_path": "",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1:8000"),
            (b"user-agent", b"bench"),
            (b"accept", b"application/json"),
            (b"x-request-id", f"bench-{number}".encode()),
        ],
        "state": {},
    }


async def call(app: FastAPI, scope: dict[str, Any]) -> int:
    """Send one request. Returns the status."""
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status


class _Silent(AccessLog):
    """Counts and writes nothing."""

    def end(self, line: AccessLine) -> None:
        """Nothing."""


@asynccontextmanager
async def started(*, observed: bool) -> Any:
    """The application with the sandbox, ready, with one message in its cache."""
    app = create_app(Settings.for_sandbox(final_ttl=86_400, delivered_ttl=86_400, pending_ttl=86_400))
    if not observed:
        for middleware in app.user_middleware:
            for every in middleware.args:
                if isinstance(every, EveryRequest):
                    every.access_log = _Silent(Metrics("1"))
    async with app.router.lifespan_context(app):
        assert await call(app, request(0)) == 200
        yield app


async def seconds_of(app: FastAPI, count: int) -> float:
    """CPU seconds of this many requests."""
    scopes = [request(number) for number in range(count)]
    before = time.process_time()
    for scope in scopes:
        await call(app, scope)
    return time.process_time() - before


async def cost() -> tuple[float, float]:
    """Microseconds of CPU that a request takes with metrics and access log, and without."""
    async with started(observed=True) as observed, started(observed=False) as bare:
        rounds = [(await seconds_of(observed, REQUESTS), await seconds_of(bare, REQUESTS)) for _ in range(ROUNDS)]
    with_it, without = (min(each) / REQUESTS * 1e6 for each in zip(*rounds, strict=True))
    return with_it, without


def variety() -> Iterator[tuple[str, str]]:
    """Methods and paths that hardly ever repeat: known and unknown messages, states, and what nobody serves."""
    for number in itertools.count(1000):
        path = f"/messages/{number}/state" if number % 3 else f"/invented/{number}"
        yield METHODS[number % len(METHODS)], path


def series(app: FastAPI) -> int:
    """How many series a scrape brings."""
    return sum(len(list(metric.samples)) for metric in app.state.service.metrics.registry.collect())


async def growth(requests: int) -> list[tuple[int, int]]:
    """Numbers of requests, each with how many series there were after them."""
    seen = []
    async with started(observed=True) as app:
        chosen = variety()
        for number in range(1, requests + 1):
            method, path = next(chosen)
            await call(app, request(number, method=method, path=path))
            if number in (1000, requests):
                seen.append((number, series(app)))
    return seen


def report(log: TextIO, requests: int) -> None:
    """Measure and print."""
    configure_logs("info", "json", lambda: ("a-secret-token", "a-login", "a-password"), log)
    if requests:
        for number, count in asyncio.run(growth(requests)):
            print(f"after {number} requests: {count} series")
        return
    observed, bare = asyncio.run(cost())
    print(
        f"metrics and access log: {observed - bare:.1f} us of CPU a request ({observed:.1f} with, {bare:.1f} without)"
    )


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m bench.observability", description=__doc__)
    parser.add_argument("--series", type=int, default=0, metavar="REQUESTS", help="count series over so many requests")
    options = parser.parse_args()
    logging.disable(logging.NOTSET)
    with tempfile.TemporaryFile("w") as log:
        report(log, options.series)


if __name__ == "__main__":
    main()
