"""The load in Python, for machines without wrk and for the burst: ``python -m bench.client SPEC`` prints what the
Lua script of ``requests.py`` would. SPEC is a JSON file that ``load.py`` writes.

Costs several times as much CPU as wrk, so what it finds is a lower bound.
"""

import asyncio
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.requests import Ids, Shape

PAUSE_BEFORE_BURST = 1.0
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Tally:
    """What was answered and how long it took, in seconds."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.refused = 0
        self.broken = 0

    def line(self, seconds: float) -> str:
        """The report in the form of the Lua script."""
        self.latencies.sort()
        report = {"answered": len(self.latencies) - self.refused, "refused": self.refused, "broken": self.broken}
        shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
        times = {name: percentile(self.latencies, share) * 1e3 for name, share in shares.items()}
        return "bench " + json.dumps(report | {"seconds": seconds} | times)


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 where there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


class Caller(asyncio.Protocol):
    """One connection that asks, waits for the answer, and asks again unless it is told ``once``."""

    def __init__(self, requests: Iterator[bytes], tally: Tally, once: bool) -> None:
        self._requests = requests
        self._tally = tally
        self._once = once
        self._buffer = b""
        self._sent = 0.0
        self._leaving = False
        self.answered = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the first question comes from outside."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self) -> None:
        """Send the next request."""
        self._sent = time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Collect the answer; every candidate sends a Content-Length."""
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not separator or length is None or len(body) < int(length[1]):
            return
        self._buffer = b""
        self._tally.latencies.append(time.perf_counter() - self._sent)
        self._tally.refused += int(head[9:12]) >= 400
        if self._once:
            self.answered.set_result(None)
        else:
            self.ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it, unless it is us who closed."""
        del exc
        self._tally.broken += not self._leaving
        if not self.answered.done():
            self.answered.set_result(None)

    def leave(self) -> None:
        """Close the connection."""
        self._leaving = True
        self._transport.abort()


async def load(host: str, port: int, requests: Iterator[bytes], connections: int, seconds: float, burst: bool) -> str:
    """Run it, and return the line that reports it."""
    loop = asyncio.get_running_loop()
    tally = Tally()
    callers = [
        (await loop.create_connection(lambda: Caller(requests, tally, burst), host, port))[1]
        for _ in range(connections)
    ]
    if burst:
        await asyncio.sleep(PAUSE_BEFORE_BURST)
    started = time.perf_counter()
    for caller in callers:
        caller.ask()
    if burst:
        await asyncio.wait([caller.answered for caller in callers], timeout=seconds)
        tally.broken += sum(not caller.answered.done() for caller in callers)
    else:
        await asyncio.sleep(seconds)
    line = tally.line(time.perf_counter() - started)
    for caller in callers:
        caller.leave()
    await asyncio.sleep(0)
    return line


def main() -> None:
    """Read the specification, run the load, print the report."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    shape = Shape(**spec["shape"])
    streams = tuple(Ids(**each) for each in spec["streams"])
    host, port = spec["host"].split(":")
    tags = {int(id_): tag for id_, tag in spec["tags"].items()}
    requests = shape.requests(spec["host"], streams, spec["batch"], tags)
    print(asyncio.run(load(host, int(port), requests, spec["connections"], spec["seconds"], spec["burst"])))


if __name__ == "__main__":
    main()
