"""The drill: each fault meets a service process of its own, under light load; two scrapes must name its cause, and the
log must have told of it in at most three lines. Then the ends: signals and what could hold up an exit (``ends.py``).

With ``--image NAME`` each service is a container of that image, read-only and without capabilities.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tools.drill.diagnosis import Cause, cause
from tools.drill.ends import ends
from tools.drill.platform import FIRST_ODD_ID, Platform
from tools.drill.service import CALLERS, LOUD, Place, key_of, service

AT_A_TIME = 4
HEALTHY_SECONDS, FAULT_SECONDS = 2.0, 6.0
LOG_SECONDS = 11.0
"""From the fault's start to the last look at the log: long enough for the summary that comes after ten seconds."""
MAX_LINES = 3


@dataclass(frozen=True)
class Fault:
    """What is broken, and the cause that the metrics must tell.

    ``load`` is what callers do meanwhile: those with names that are always there, and for ``loud`` and ``spoiling`` one
    more; ``log`` what becomes of standard error: a ``file``, a pipe that is ``unread`` from the fault on, or a ``full``
    disk; ``descriptors`` a limit of open files.
    """

    name: str
    switched: str
    told: str
    load: str = "light"
    settings: Mapping[str, str] = field(default_factory=dict)
    log: str = "file"
    descriptors: int | None = None


NIGHT = [
    Fault("platform down", "down", "platform unreachable"),
    Fault("platform answers 500", "500s", "platform fails"),
    Fault("platform is slow", "slow", "platform slow"),
    Fault("platform hangs", "hangs", "platform answers too late, or never"),
    Fault("wrong password", "wrong password", "credentials rejected"),
    Fault("locked account", "locked account", "account locked"),
    Fault("platform throttles", "throttled", "throttled"),
    Fault("platform sends HTML", "not JSON", "platform's reply unreadable"),
    Fault("platform refuses with an unknown text", "refuses", "platform refuses"),
    Fault(
        "platform repeats the token, cut",
        "repeats the token, cut",
        "platform refuses",
        settings={"UPSTREAM_TOKEN": "drill-token-0123456789"},
    ),
    Fault("platform answers only the first entry", "answers only the first entry", "batching off"),
    Fault("platform invents a state", "unknown state", "undocumented state"),
    Fault("callers ask for more than fits", "none", "queue full", "heavy", {"MAX_QUEUED_IDS": "200"}),
    Fault(
        "one caller asks for more than it may", "none", "one caller asks for too much", "loud", {"RATE_LIMIT": "300"}
    ),
    Fault(
        "one caller asks for more than fits", "none", "one caller asks for too much", "loud", {"MAX_QUEUED_IDS": "200"}
    ),
    Fault("one caller sends ids that spoil batches", "refuses some ids", "one caller spoils batches", "spoiling"),
    Fault("callers ask for another account's messages", "knows no message", "messages not found"),
    Fault("callers send nonsense", "none", "callers' mistakes", "nonsense"),
    Fault("Redis is not there", "none", "shared cache fails", settings={"CACHE_URL": "redis://127.0.0.1:1/0"}),
    Fault("nobody reads the log", "none", "log lines lost", log="unread"),
    Fault("the disk of the log is full", "none", "log lines lost", log="full"),
    Fault("callers keep connections", "none", "descriptors used up", "crowd", descriptors=150),
    Fault("nothing", "none", "none"),
]


@dataclass(frozen=True)
class Outcome:
    """What the drill saw."""

    fault: Fault
    told: Cause
    lines: list[str]

    @property
    def passed(self) -> bool:
        """Whether the cause was named, in few lines."""
        return self.told.name == self.fault.told and len(self.lines) <= MAX_LINES


async def load(kind: str, client: httpx.AsyncClient, url: str, ids: Iterator[int]) -> None:
    """Call for ever, a few times a second: one id, then twenty; or hundreds; or what cannot be understood."""
    crowd: list[asyncio.StreamWriter] = []

    async def ask(caller: str, count: int, odd: int = 0) -> None:
        headers = {"X-API-Key": key_of(caller)}
        asked = [each + odd for each in itertools.islice(ids, count)]
        # Callers that are still waiting when the service ends lose their connection.
        with contextlib.suppress(httpx.TransportError, OSError):
            if kind == "crowd":
                _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
                crowd.append(writer)
            elif kind == "nonsense":
                await client.get(f"{url}/messages/none/state", headers=headers)
            elif count == 1:
                await client.get(f"{url}/messages/{asked[0]}/state", headers=headers)
            else:
                await client.post(f"{url}/messages/states", json={"ids": asked}, headers=headers)

    sizes = itertools.cycle((1, 1, 600) if kind == "heavy" else (1, 20))
    try:
        async with asyncio.TaskGroup() as calls:
            for caller, size in zip(itertools.cycle(CALLERS), sizes, strict=False):
                calls.create_task(ask(caller, size))
                if kind == "loud":
                    calls.create_task(ask(LOUD, 600))
                elif kind == "spoiling":
                    calls.create_task(ask(LOUD, 3, FIRST_ODD_ID))
                await asyncio.sleep(0.01 if kind == "crowd" else 0.1)
    finally:
        for writer in crowd:
            writer.close()


@asynccontextmanager
async def loaded(kind: str, client: httpx.AsyncClient, url: str, ids: Iterator[int]) -> AsyncIterator[None]:
    """Load while the block lasts."""
    task = asyncio.create_task(load(kind, client, url, ids))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def rehearse(fault: Fault, place: Place) -> Outcome:
    """A healthy service, then the fault; a scrape before it and one after."""
    ids = itertools.count(1_000_000)
    async with (
        Platform() as platform,
        service(platform.url, place, fault.settings, fault.log, fault.descriptors) as running,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        async with loaded("light", client, running.url, ids):
            await asyncio.sleep(HEALTHY_SECONDS)
        lines_before = len(running.loud())
        before = await running.scrape(client)
        await platform.switch(fault.switched)
        running.stop_reading()
        async with loaded(fault.load, client, running.url, ids):
            await asyncio.sleep(FAULT_SECONDS)
            after = await running.scrape(client)
            await asyncio.sleep(LOG_SECONDS - FAULT_SECONDS)
        return Outcome(fault, cause(before, after), running.loud()[lines_before:])


async def night(place: Place) -> list[Outcome]:
    """All faults, some at a time."""
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(fault: Fault) -> Outcome:
        async with gate:
            outcome = await rehearse(fault, place)
        print(shown(outcome), flush=True)
        return outcome

    return await asyncio.gather(*(one(fault) for fault in NIGHT))


def shown(outcome: Outcome) -> str:
    """The outcome for people."""
    mark = "ok  " if outcome.passed else "FAIL"
    head = f"{mark} {outcome.fault.name}: {outcome.told.name} ({outcome.told.whose})"
    return "\n".join([head, *(f"       {line}" for line in outcome.lines)])


def main() -> None:
    """Run it; exit status 1 where a cause was not named or the log was flooded."""
    parser = argparse.ArgumentParser(prog="python -m tools.drill", description="One fault after another.")
    parser.add_argument("--image", help="run containers of this image, not processes; needs docker and Linux")
    image = parser.parse_args().image
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), image)
        outcomes = asyncio.run(night(place))
        complaints = asyncio.run(ends(place))
    failed = [outcome for outcome in outcomes if not outcome.passed]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} told right, in {time.monotonic() - started:.0f} s")
    sys.exit(bool(failed or complaints))


if __name__ == "__main__":
    main()
