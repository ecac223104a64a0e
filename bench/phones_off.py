"""A page that shows a hundred messages whose phones are off: the entries that it costs in an hour.

Sampled for real: processes before the sandbox, the page a stream on each of them, on one Redis where there are several.
An hour passes in three minutes, since every lifetime is a twentieth of the default.
"""

import asyncio
import contextlib
import tempfile
import time
from pathlib import Path

from bench.candidates import KEY, Candidate, Platform, service, started
from bench.processes import Process
from bench.replicas import entries, redis

MESSAGES = 100
"""As many as one stream may have. Their numbers end in 0: pending for ever."""
TIMES_FASTER = 20
HOUR = 3600 / TIMES_FASTER
FIRST_HOUR, LATER_HOUR = 105 * MESSAGES, 62 * MESSAGES
"""Entries that one process may send."""
REPLICAS_MORE = 1.1
"""How much more several on one Redis may send."""
PLATFORM = Platform(0.0, 16)

SETTINGS: dict[str, tuple[float, float]] = {
    "the defaults": (2, 60),
    "no growth": (2, 2),
    "what the webhook allows": (60, 3600),
}
"""``PENDING_TTL`` and ``PENDING_TTL_MAX`` in seconds of the page."""


def conduct(checkout: Path, replicas: int, hours: int, what: str) -> bool:
    """Sample so many hours of so many processes and print them. Whether they stay within the limits."""
    ttl, most = SETTINGS[what]
    lifetimes = {"PENDING_TTL": str(ttl / TIMES_FASTER), "PENDING_TTL_MAX": str(most / TIMES_FASTER)}
    with tempfile.TemporaryDirectory(prefix="phones-off-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        platform = stack.enter_context(started(PLATFORM.candidate(), folder))
        url = stack.enter_context(redis(folder))[0] if replicas > 1 else "memory:"
        each: list[Candidate] = [service(checkout, CACHE_URL=url, **lifetimes) for _ in range(replicas)]
        processes = [stack.enter_context(started(candidate, folder, platform)) for candidate in each]
        sent = asyncio.run(_watch(processes, platform, hours))
    print(f"{what}, {replicas} process(es): {', '.join(f'{each:,}' for each in sent)} entries in each hour")
    more = REPLICAS_MORE if replicas > 1 else 1.0
    return sent[0] <= FIRST_HOUR * more and all(each <= LATER_HOUR * more for each in sent[1:])


async def _watch(processes: list[Process], platform: Process, hours: int) -> list[int]:
    pages = [asyncio.create_task(_read_stream(process)) for process in processes]
    begun, before = time.monotonic(), entries(platform)
    sent = []
    for hour in range(1, hours + 1):
        await asyncio.sleep(begun + hour * HOUR - time.monotonic())
        now = await asyncio.to_thread(entries, platform)
        sent.append(now - before)
        before = now
    for page in pages:
        if page.done():
            page.result()  # a stream that ended measures nothing
        page.cancel()
    await asyncio.gather(*pages, return_exceptions=True)
    return sent


async def _read_stream(process: Process) -> None:
    """Read a stream as long as it lasts. Raises ConnectionError where it ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    query = "&".join(f"id={10_000 + 10 * number}" for number in range(MESSAGES))
    lines = (f"GET /messages/states/events?{query} HTTP/1.1", f"Host: {process.host}", f"X-API-Key: {KEY}", "", "")
    writer.write("\r\n".join(lines).encode())
    try:
        while await reader.read(65_536):
            pass
        raise ConnectionError("the stream has ended")
    finally:
        writer.close()
