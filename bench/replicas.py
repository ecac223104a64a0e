"""Replicas on one Redis: what they ask the platform for together, and what a Redis that hangs costs a lookup."""

import asyncio
import contextlib
import http.client
import json
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.candidates import KEY, Platform, service, started
from bench.client import load
from bench.load import Report, fill, parse
from bench.processes import START_SECONDS, Process, StartFailure, free_port
from bench.requests import DOCUMENTED, FINAL, Ids, Runs

REPLICAS = 3
CONNECTIONS = 64
SECONDS = 20.0
MESSAGES = 600
LIMIT = 1.3
"""Entries sent to the platform by all replicas together, in those that a single process sends."""
IN_STEP_LIMIT = 3.0
"""Polled by all replicas at the same moment each of them may ask once in a lifetime."""
WATCHED = 50
WATCHED_SECONDS = 30.0
WATCHED_LIMIT = 1.1
STEP = 0.6
"""Seconds between the streams of two replicas that are out of step; poll cycles come every two."""
PLATFORM = Platform(0.03, 16)
SAMPLES = 400
PAUSE_SECONDS = 1.0
"""For the first lookups of a paused Redis, after which its circuit is open."""


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The system's Redis or Valkey on a free port, with nothing on disk; its URL and process."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise StartFailure("neither redis-server nor valkey-server is installed")
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder))
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > end:
                    raise StartFailure(f"{program} does not serve") from None
                time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0", process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait()


def entries(platform: Process) -> int:
    """How many entries the platform was sent so far."""
    connection = http.client.HTTPConnection(platform.host, timeout=10)
    connection.request("GET", "/counters")
    sent: int = json.loads(connection.getresponse().read())["entries"]
    connection.close()
    return sent


def poll(processes: list[Process], ids: Ids) -> list[Report]:
    """The messages in turn, each through the process whose connection happens to be free: as behind a Service."""
    questions = service(Path()).one.requests("replicas", (ids,), 1)

    async def together() -> list[str]:
        shares = [CONNECTIONS // len(processes) + (n < CONNECTIONS % len(processes)) for n in range(len(processes))]
        return await asyncio.gather(
            *(
                load("127.0.0.1", process.port, questions, share, SECONDS, burst=False)
                for process, share in zip(processes, shares, strict=True)
            )
        )

    return [parse(line) for line in asyncio.run(together())]


async def watch(processes: list[Process], platform: Process, step: float) -> int:
    """A stream of the same pending messages on each process, so many seconds apart; the entries sent meanwhile."""

    async def read(process: Process, delay: float) -> None:
        await asyncio.sleep(delay)
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        query = "&".join(f"id={10 * number}" for number in range(1000, 1000 + WATCHED))
        head = f"GET /messages/states/events?{query} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n"
        writer.write(head.encode())
        while await reader.read(65536):
            pass

    before = await asyncio.to_thread(entries, platform)
    streams = [asyncio.create_task(read(process, number * step)) for number, process in enumerate(processes)]
    await asyncio.sleep(WATCHED_SECONDS)
    sent = await asyncio.to_thread(entries, platform) - before
    for each in streams:
        each.cancel()
    await asyncio.gather(*streams, return_exceptions=True)
    return sent


async def poll_in_step(processes: list[Process], platform: Process) -> int:
    """Every process is asked for the same pending messages at the same moment, a little less often than they expire;
    the entries sent, in those of one process."""
    ids = [10 * number for number in range(2000, 2000 + WATCHED)]
    body = json.dumps({"ids": ids})

    def ask(process: Process) -> None:
        connection = http.client.HTTPConnection(process.host, timeout=10)
        connection.request("POST", "/messages/states", body, {"X-API-Key": KEY, "Content-Type": "application/json"})
        connection.getresponse().read()
        connection.close()

    await asyncio.sleep(2.2)  # until nothing is asked any more for streams that have just ended
    before = await asyncio.to_thread(entries, platform)
    for _ in range(5):
        await asyncio.gather(*(asyncio.to_thread(ask, process) for process in processes))
        await asyncio.sleep(2.2)
    return await asyncio.to_thread(entries, platform) - before


def conduct_watching(checkout: Path) -> bool:
    """Measure watching, and polling in step. Whether both stay within their limits."""
    sent: dict[tuple[int, float], int] = {}
    polled = 0
    for number, step in ((1, 0.0), (REPLICAS, STEP), (REPLICAS, 0.0)):
        with tempfile.TemporaryDirectory(prefix="watching-") as name, contextlib.ExitStack() as stack:
            folder = Path(name)
            platform = stack.enter_context(started(PLATFORM.candidate(), folder))
            url = stack.enter_context(redis(folder))[0] if number > 1 else "memory:"
            # Without growth: how lifetimes grow is another measurement.
            each = [service(checkout, CACHE_URL=url, PENDING_TTL_MAX="2") for _ in range(number)]
            processes = [stack.enter_context(started(candidate, folder, platform)) for candidate in each]
            sent[number, step] = asyncio.run(watch(processes, platform, step))
            if number > 1 and step == 0.0:
                polled = asyncio.run(poll_in_step(processes, platform))
    alone = sent[1, 0.0]
    out_of_step, in_step, polls = sent[REPLICAS, STEP] / alone, sent[REPLICAS, 0.0] / alone, polled / (5 * WATCHED)
    print(
        f"{WATCHED} messages watched on {REPLICAS} replicas: {out_of_step:.2f} times one (allowed: {WATCHED_LIMIT:g})"
    )
    print(f"the same, streams opened at the same moment: {in_step:.2f} times one (allowed: {WATCHED_LIMIT:g})")
    print(f"polled in step: {polls:.2f} entries for a message and lifetime (allowed: {IN_STEP_LIMIT:g})")
    return max(out_of_step, in_step) <= WATCHED_LIMIT and polls <= IN_STEP_LIMIT


@contextlib.contextmanager
def replicas(number: int, checkout: Path, url: str, folder: Path, platform: Process) -> Iterator[list[Process]]:
    """Some processes of the service with one cache."""
    with contextlib.ExitStack() as stack:
        each = [service(checkout, CACHE_URL=url) for _ in range(number)]
        yield [stack.enter_context(started(candidate, folder, platform)) for candidate in each]


def conduct(checkout: Path) -> bool:
    """Measure polling out of step and print what was seen. Whether the replicas share as they should."""
    runs = Runs()
    sent: dict[int, int] = {}
    failed = 0
    candidate = service(checkout)
    with tempfile.TemporaryDirectory(prefix="replicas-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        platform = stack.enter_context(started(PLATFORM.candidate(), folder))
        url, _ = stack.enter_context(redis(folder))
        for number, cache in ((1, "memory:"), (REPLICAS, url)):
            ids = runs.fresh(DOCUMENTED, MESSAGES)
            before = entries(platform)
            with replicas(number, checkout, cache, folder, platform) as processes:
                reports = poll(processes, ids)
            sent[number] = entries(platform) - before
            failed += sum(report.refused + report.broken for report in reports)
            answered = sum(report.answered for report in reports)
            print(f"{number} process(es), {cache.partition(':')[0]}: {sent[number]:,} entries for {answered:,} lookups")
        # All of them are new processes; the messages are those that the replicas before them have polled.
        finals = Ids(ids.first, FINAL, MESSAGES * len(FINAL) // len(DOCUMENTED))
        before = entries(platform)
        with replicas(REPLICAS, checkout, url, folder, platform) as processes:
            for process in processes:
                fill(finals, candidate, process.host)
        anew = entries(platform) - before
    ratio = sent[REPLICAS] / sent[1]
    print(f"{ratio:.2f} times the entries of a single process (allowed: {LIMIT:g}); {failed} requests failed")
    print(f"after a restart of all, {finals.count} final states cost {anew} entries (allowed: 0)")
    return ratio <= LIMIT and anew == 0 and failed == 0


def conduct_paused(checkout: Path) -> None:
    """Time lookups one after the other before and after Redis stops to answer. Raises StartFailure where one fails."""
    taken: dict[str, list[float]] = {}
    ids = iter(Runs().fresh())
    with tempfile.TemporaryDirectory(prefix="paused-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        platform = stack.enter_context(started(PLATFORM.candidate(), folder))
        url, server = stack.enter_context(redis(folder))
        with replicas(1, checkout, "memory:", folder, platform) as (process,):
            taken["memory alone"] = time_lookups(process, ids, SAMPLES)
        with replicas(1, checkout, url, folder, platform) as (process,):
            taken["with Redis"] = time_lookups(process, ids, SAMPLES)
            server.send_signal(signal.SIGSTOP)
            end = time.monotonic() + PAUSE_SECONDS
            taken["the first second of a paused Redis"] = []
            while time.monotonic() < end:
                taken["the first second of a paused Redis"] += time_lookups(process, ids, 1)
            taken["after it"] = time_lookups(process, ids, SAMPLES)
    base = statistics.median(taken["memory alone"])
    for case, times in taken.items():
        late = sum(each > base + 0.02 for each in times)
        print(
            f"{case}: median {statistics.median(times) * 1e3:.1f} ms, longest {max(times) * 1e3:.1f} ms, "
            f"{late} of {len(times)} more than 20 ms above the median of memory alone"
        )


def time_lookups(process: Process, ids: Iterator[int], number: int) -> list[float]:
    """Seconds of lookups of new messages, one after the other. Raises StartFailure where one fails."""
    connection = http.client.HTTPConnection(process.host, timeout=10)
    connection.connect()
    times = []
    for _ in range(number):
        begun = time.perf_counter()
        connection.request("GET", f"/messages/{next(ids)}/state", headers={"X-API-Key": KEY})
        reply = connection.getresponse()
        reply.read()
        times.append(time.perf_counter() - begun)
        if reply.status != 200:
            raise StartFailure(f"a lookup failed with {reply.status}")
    connection.close()
    return times
