"""What one caller notices of another one: lookups of a quiet caller, alone and beside a loud one.

Both have a key. The quiet one asks for one new message at a time, on a few connections. The loud one sends as many
batches as it gets answers to, or reads event streams, or asks for ids for which the platform refuses whole requests.
"""

import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.candidates import Candidate, Platform, service, started, uvicorn
from bench.client import percentile
from bench.processes import Process
from bench.requests import DOCUMENTED, POISON, Runs

QUIET, LOUD = "quiet-0123456789abcdef012345", "loud-0123456789abcdef0123456"
LOOKUPS, CONNECTIONS = 100, 4
HEAD_START = 2.0
"""Seconds that the loud caller has before the quiet one begins: its streams are open and its batches queued by then."""
BATCHES, BATCH = 8, 1000
STREAMS, STREAM = 200, 100
POISON_PER_SECOND = 45
ALLOWED_SECONDS = 0.05
"""Of the median, beyond two times of the platform."""
PENDING = (0,)

Loud = Callable[[Process, Runs], list[Coroutine[Any, Any, None]]]


@dataclass(frozen=True)
class Situation:
    """``least_answered``: of a hundred lookups. ``bounded``: whether the median must keep its bound."""

    name: str
    title: str
    platform: Platform
    loud: Loud
    least_answered: int
    bounded: bool = True


@dataclass(frozen=True)
class Quiet:
    """What the quiet caller got: times in milliseconds, of answered lookups."""

    answered: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Neighbour:
    """One situation: the quiet caller alone, and beside the loud one."""

    title: str
    alone: Quiet
    beside: Quiet
    most_p50: float | None
    least_answered: int

    @property
    def bearable(self) -> bool:
        """Whether it is what was promised."""
        in_time = self.most_p50 is None or self.beside.p50 <= self.most_p50
        return in_time and self.beside.answered >= self.least_answered


def _batches(process: Process, runs: Runs) -> list[Coroutine[Any, Any, None]]:
    ids = iter(runs.fresh(DOCUMENTED))

    async def sender() -> None:
        while True:
            body = '{"ids":[' + ",".join(map(str, itertools.islice(ids, BATCH))) + "]}"
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            if await _status(process, "POST /messages/states", LOUD, head, body) != 200:
                # Whoever is refused at once would otherwise do nothing but ask.
                await asyncio.sleep(0.1)

    return [sender() for _ in range(BATCHES)]


def _streams(process: Process, runs: Runs) -> list[Coroutine[Any, Any, None]]:
    ids = iter(runs.fresh(PENDING))

    async def reader(query: str) -> None:
        reply, writer = await asyncio.open_connection("127.0.0.1", process.port, limit=1 << 20)
        with suppress(asyncio.CancelledError):
            try:
                writer.write(_head(process, f"GET /messages/states/events?{query}", LOUD).encode())
                if b" 200 " not in await reply.readline():
                    raise RuntimeError("a stream is refused")
                while await reply.read(1 << 16):
                    pass
            finally:
                writer.close()

    return [reader("&".join(f"id={id_}" for id_ in itertools.islice(ids, STREAM))) for _ in range(STREAMS)]


def _poison(process: Process, _runs: Runs) -> list[Coroutine[Any, Any, None]]:
    ids = itertools.count(POISON)

    async def sender() -> None:
        async with asyncio.TaskGroup() as asking:
            due = time.monotonic()
            while True:
                asking.create_task(_status(process, f"GET /messages/{next(ids)}/state", LOUD))
                due += 1 / POISON_PER_SECOND
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    return [sender()]


def _with_poison(platform: Platform) -> Candidate:
    """A sandbox that refuses whole requests for some ids."""
    env = {"LATENCY": str(platform.latency), "WORKERS": str(platform.workers)}
    return replace(platform.candidate(), command=uvicorn("bench.peers.poisoned:app"), env=env)


SITUATIONS = (
    Situation("batches", f"{BATCHES} batches of {BATCH} at a time", Platform(0.25, 4), _batches, 100),
    Situation("streams", f"{STREAMS} event streams of {STREAM} pending messages", Platform(0.25, 4), _streams, 100),
    Situation("poison", f"{POISON_PER_SECOND} poison ids a second", Platform(0.1, 4), _poison, 98, bounded=False),
)


def conduct(checkout: Path) -> dict[str, Neighbour]:
    """Measure every situation, each with a service and a platform of its own."""
    measured = {}
    runs = Runs()
    for each in SITUATIONS:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as name,
            started(_with_poison(each.platform), folder := Path(name)) as platform,
            started(
                # Room for all streams, of which one caller may have three quarters.
                service(checkout, API_KEYS=f"quiet:{QUIET},loud:{LOUD}", MAX_WAITERS=str(2 * STREAMS * STREAM)),
                folder,
                platform,
            ) as process,
        ):
            alone = asyncio.run(_lookups(process, runs))
            beside = asyncio.run(_beside(each.loud(process, runs), process, runs))
        most = (2 * each.platform.latency + ALLOWED_SECONDS) * 1e3 if each.bounded else None
        title = f"{each.title}; platform {each.platform.title}"
        measured[each.name] = Neighbour(title, alone, beside, most, each.least_answered)
        print(f"{each.name}: {alone} alone, {beside} beside", file=sys.stderr, flush=True)
    return measured


async def _beside(loud: list[Coroutine[Any, Any, None]], process: Process, runs: Runs) -> Quiet:
    tasks = [asyncio.create_task(each) for each in loud]
    await asyncio.sleep(HEAD_START)
    quiet = await _lookups(process, runs)
    for task in tasks:
        if task.done():
            # What ended by itself has failed, and was not loud.
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return quiet


async def _lookups(process: Process, runs: Runs) -> Quiet:
    ids = itertools.islice(iter(runs.fresh(DOCUMENTED)), LOOKUPS)
    seconds: list[float] = []

    async def caller(own: Iterator[int]) -> None:
        for id_ in own:
            begun = time.monotonic()
            if await _status(process, f"GET /messages/{id_}/state", QUIET) == 200:
                seconds.append(time.monotonic() - begun)

    # All take from one iterator, so that none is left over.
    await asyncio.gather(*(caller(ids) for _ in range(CONNECTIONS)))
    seconds.sort()
    return Quiet(len(seconds), percentile(seconds, 0.5) * 1e3, percentile(seconds, 0.99) * 1e3)


async def _status(process: Process, target: str, key: str, head: str = "", body: str = "") -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port, limit=1 << 20)
    try:
        writer.write((_head(process, target, key, "Connection: close\r\n" + head) + body).encode())
        status = int((await reader.readline()).split()[1])
        await reader.read()
    finally:
        writer.close()
    return status


def _head(process: Process, target: str, key: str, head: str = "") -> str:
    return f"{target} HTTP/1.1\r\nHost: {process.host}\r\nX-API-Key: {key}\r\n{head}\r\n"


def lines(measured: dict[str, Neighbour]) -> list[str]:
    """The table for people."""
    rows = [
        "| A quiet caller beside | p50 ms alone | p99 ms alone | p50 ms beside it | p99 ms beside it | "
        "answered of 100 | bound | kept |",
        "|---|--:|--:|--:|--:|--:|---|---|",
    ]
    for each in measured.values():
        bound = f"{each.least_answered} answered" + (f", p50 {each.most_p50:,.0f} ms" if each.most_p50 else "")
        times = (f"{value:,.0f}" for quiet in (each.alone, each.beside) for value in (quiet.p50, quiet.p99))
        cells = [each.title, *times, str(each.beside.answered), bound, "yes" if each.bearable else "**no**"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows
