"""What ``MAX_WAITERS`` messages cost one process in memory, and in CPU while nothing changes: waited for one by one,
and streamed a hundred at a time."""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import KEY, Platform, service, started
from bench.processes import Process

MESSAGES = 10_000
"""The default of ``MAX_WAITERS``."""
IDS = 100
"""One request of 100 entries in each poll cycle. Their numbers end in 0: pending for ever."""
STREAMED = 100
"""Messages of one stream, the most that there may be; all streams together have 100 as well."""
AT_A_TIME = 64
SECONDS = 15.0
WAIT = 50
"""Seconds: long enough for all to come and to be measured before the first one is answered."""
MEMORY_LIMIT_MB = 150.0
"""Of both kinds: the share of the pod's limit that ``tests/support/manifests/code.py`` counts for them."""
CPU_LIMIT = 0.02
"""Of a core, beyond what the process uses with nobody waiting."""
PLATFORM = Platform(0.03, 16)


@dataclass(frozen=True)
class Cost:
    """What was measured: MB and shares of a core, without and with those who wait."""

    callers: int
    idle_mb: float
    waiting_mb: float
    idle_cpu: float
    waiting_cpu: float
    seconds_to_come: float

    @property
    def bearable(self) -> bool:
        """Whether it stays within the limits."""
        memory, cpu = self.waiting_mb - self.idle_mb, self.waiting_cpu - self.idle_cpu
        return memory <= MEMORY_LIMIT_MB and cpu <= CPU_LIMIT


def conduct(checkout: Path) -> bool:
    """Measure, print, and tell whether it is bearable."""
    # Not one caller's: of the whole it has three quarters at most.
    candidate = service(checkout, MAX_WAITERS=str(MESSAGES * 4 // 3 + 1))
    costs = {}
    for what, messages in (("waits", 1), (f"streams of {STREAMED}", STREAMED)):
        with (
            tempfile.TemporaryDirectory() as name,
            started(PLATFORM.candidate(), folder := Path(name)) as platform,
            started(candidate, folder, platform) as process,
        ):
            cost = costs[what] = asyncio.run(_measure(process, messages))
        print(
            f"{cost.callers} {what}, {MESSAGES} messages in all, all there after {cost.seconds_to_come:.1f} s\n"
            f"memory: {cost.idle_mb:.0f} MB without them, {cost.waiting_mb:.0f} MB with them, "
            f"{(cost.waiting_mb - cost.idle_mb) * 1024 / cost.callers:.1f} KB each (limit: {MEMORY_LIMIT_MB:.0f} MB)\n"
            f"CPU while nothing changes: {cost.idle_cpu:.1%} of a core without them, {cost.waiting_cpu:.1%} with them"
        )
    return all(cost.bearable for cost in costs.values())


async def _measure(process: Process, messages: int) -> Cost:
    """Let callers come that wait for so many messages each, ``MESSAGES`` in all."""
    # A first lookup, so that everything is loaded.
    await (await _ask(process, _state(0, wait=0)))[0].read(1)
    idle_cpu = await _cpu(process)
    idle_mb = process.resident_mb()
    begun = time.monotonic()
    writers: list[asyncio.StreamWriter] = []
    gate = asyncio.Semaphore(AT_A_TIME)

    reading: list[asyncio.Task[None]] = []
    callers = MESSAGES // messages

    async def come(number: int) -> None:
        async with gate:
            reader, writer = await _ask(process, _state(number, WAIT) if messages == 1 else _events(messages))
            writers.append(writer)
            reading.append(asyncio.create_task(_read_on(reader)))

    await asyncio.gather(*(come(number) for number in range(callers)))
    came = time.monotonic() - begun
    await asyncio.sleep(3)
    waiting_cpu = await _cpu(process)
    waiting_mb = process.resident_mb()
    for task in reading:
        task.cancel()
    for writer in writers:
        writer.close()
    return Cost(callers, idle_mb, waiting_mb, idle_cpu, waiting_cpu, came)


def _state(number: int, wait: int) -> str:
    return f"/messages/{10_000 + 10 * (number % IDS)}/state?wait={wait}"


def _events(messages: int) -> str:
    return "/messages/states/events?" + "&".join(f"id={10_000 + 10 * number}" for number in range(messages))


async def _read_on(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _ask(process: Process, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    lines = (f"GET {path} HTTP/1.1", f"Host: {process.host}", f"X-API-Key: {KEY}", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    return reader, writer


async def _cpu(process: Process) -> float:
    begun, used = time.monotonic(), process.cpu_seconds()
    await asyncio.sleep(SECONDS)
    return (process.cpu_seconds() - used) / (time.monotonic() - begun)
