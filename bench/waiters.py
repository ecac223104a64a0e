"""Ten thousand callers that wait: what they cost one process in memory, and in CPU while nothing changes."""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from bench.candidates import KEY, Platform, service, started
from bench.processes import Process

WAITERS = 10_000
MESSAGES = 100
"""One request of 100 entries in each round. Their numbers end in 0: pending for ever."""
AT_A_TIME = 64
SECONDS = 15.0
WAIT = 50
"""Seconds: long enough for all to come and to be measured before the first one is answered."""
MEMORY_LIMIT_MB = 150.0
CPU_LIMIT = 0.02
"""Of a core, beyond what the process uses with nobody waiting."""
PLATFORM = Platform(0.03, 16)


@dataclass(frozen=True)
class Cost:
    """What was measured: MB and shares of a core, without and with those who wait."""

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
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            started(PLATFORM.candidate(), folder) as platform,
            started(service(checkout, MAX_WAITERS=str(WAITERS)), folder, platform) as process,
        ):
            cost = asyncio.run(_measure(process))
    print(
        f"{WAITERS} waiters on {MESSAGES} messages, all there after {cost.seconds_to_come:.1f} s\n"
        f"memory: {cost.idle_mb:.0f} MB without them, {cost.waiting_mb:.0f} MB with them, "
        f"{(cost.waiting_mb - cost.idle_mb) * 1024 / WAITERS:.1f} KB each (limit: {MEMORY_LIMIT_MB:.0f} MB more)\n"
        f"CPU while nothing changes: {cost.idle_cpu:.1%} of a core without them, {cost.waiting_cpu:.1%} with them"
    )
    return cost.bearable


async def _measure(process: Process) -> Cost:
    # A first lookup, so that everything is loaded.
    await (await _ask(process, 0, wait=0))[0].read(1)
    idle_cpu = await _cpu(process)
    idle_mb = process.resident_mb()
    begun = time.monotonic()
    writers: list[asyncio.StreamWriter] = []
    gate = asyncio.Semaphore(AT_A_TIME)

    async def come(number: int) -> None:
        async with gate:
            writers.append((await _ask(process, number, wait=WAIT))[1])

    await asyncio.gather(*(come(number) for number in range(WAITERS)))
    came = time.monotonic() - begun
    await asyncio.sleep(3)
    waiting_cpu = await _cpu(process)
    waiting_mb = process.resident_mb()
    for writer in writers:
        writer.close()
    return Cost(idle_mb, waiting_mb, idle_cpu, waiting_cpu, came)


async def _ask(process: Process, number: int, wait: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    id_ = 10 * (1 + number % MESSAGES)
    lines = (f"GET /messages/{id_}/state?wait={wait} HTTP/1.1", f"Host: {process.host}", f"X-API-Key: {KEY}", "", "")
    writer.write("\r\n".join(lines).encode())
    await writer.drain()
    return reader, writer


async def _cpu(process: Process) -> float:
    begun, used = time.monotonic(), process.cpu_seconds()
    await asyncio.sleep(SECONDS)
    return (process.cpu_seconds() - used) / (time.monotonic() - begun)
