"""What a drill cannot read from metrics: how a process ends, what its metrics port bears, and what it never shows."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import httpx

from tools.drill.platform import Platform
from tools.drill.service import Service, service, started

GRACE_SECONDS = 1.0
SETTINGS = {"SHUTDOWN_GRACE": str(GRACE_SECONDS), "API_KEYS": ""}
TOKEN = "drill-token-0123456789"
SHOWN_AT_MOST = 5
"""Characters of a credential, in a row."""

Complaint = str | None


async def _ended(running: Service, *, within: float) -> Complaint:
    """What is wrong with the end of a process that was sent its signals; None where nothing is."""
    begun = time.monotonic()
    try:
        status = await asyncio.wait_for(running.process.wait(), within)
    except TimeoutError:
        return f"it has not ended after {within:g} s"
    return None if status == 0 else f"it ended with {status} after {time.monotonic() - begun:.1f} s"


async def sigterm_while_it_starts(folder: Path) -> Complaint:
    """A moment after the first lines of Python."""
    for moment in (0.1, 0.3, 0.6):
        async with started("sandbox:", folder, SETTINGS) as running:
            await asyncio.sleep(moment)
            running.process.send_signal(signal.SIGTERM)
            complaint = await _ended(running, within=5)
            if complaint:
                return f"after {moment} s: {complaint}"
    return None


async def many_sigterms(folder: Path) -> Complaint:
    """As of an operator who loses patience."""
    async with service("sandbox:", folder, SETTINGS) as running:
        for _ in range(20):
            with suppress(ProcessLookupError):
                os.kill(running.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.02)
        return await _ended(running, within=GRACE_SECONDS + 2)


async def sighup_with_a_request_in_flight(folder: Path) -> Complaint:
    """As of a terminal that is closed."""
    async with Platform() as platform, service(platform.url, folder, SETTINGS) as running, _client() as client:
        await platform.switch("slow")
        answer = asyncio.create_task(client.get(f"{running.url}/messages/1/state"))
        await asyncio.sleep(0.3)
        running.process.send_signal(signal.SIGHUP)
        status = (await answer).status_code
        return await _ended(running, within=GRACE_SECONDS + 2) or (None if status == 200 else f"a caller got {status}")


async def collector_of_traces_that_hangs(folder: Path) -> Complaint:
    """It accepts connections, and never answers."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as collector:
        port = collector.sockets[0].getsockname()[1]
        settings = {**SETTINGS, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        async with service("sandbox:", folder, settings) as running, _client() as client:
            await client.get(f"{running.url}/messages/82216/state")
            running.process.send_signal(signal.SIGTERM)
            return await _ended(running, within=GRACE_SECONDS + 2)


async def idle_connections_to_the_metrics(folder: Path) -> Complaint:
    """Six hundred of them, and one scrape."""
    async with service("sandbox:", folder, SETTINGS) as running, _client() as client:
        idle = [await asyncio.open_connection("127.0.0.1", running.metrics_port) for _ in range(600)]
        begun = time.monotonic()
        scraped = await running.scrape(client)
        for _, writer in idle:
            writer.close()
        seconds = time.monotonic() - begun
        if seconds > 2:
            return f"a scrape took {seconds:.1f} s"
        return None if scraped else "a scrape was empty"


async def platform_that_repeats_the_token(folder: Path) -> Complaint:
    """In an error text, cut off."""
    settings = {**SETTINGS, "UPSTREAM_TOKEN": TOKEN}
    async with Platform() as platform, service(platform.url, folder, settings) as running, _client() as client:
        await platform.switch("repeats the token, cut")
        text = (await client.get(f"{running.url}/messages/1/state")).text
        runs = (TOKEN[at : at + SHOWN_AT_MOST + 1] for at in range(len(TOKEN) - SHOWN_AT_MOST))
        return f"a caller got {text}" if any(run in text for run in runs) else None


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=30)


ENDS: dict[str, Callable[[Path], Awaitable[Complaint]]] = {
    "SIGTERM while it starts": sigterm_while_it_starts,
    "twenty SIGTERMs": many_sigterms,
    "SIGHUP with a request in flight": sighup_with_a_request_in_flight,
    "a collector of traces that hangs": collector_of_traces_that_hangs,
    "idle connections to the metrics port": idle_connections_to_the_metrics,
    "a platform that repeats the token": platform_that_repeats_the_token,
}


async def ends(folder: Path) -> list[str]:
    """Rehearse all of them, one after the other. Returns what was wrong."""
    complaints = []
    for name, rehearse in ENDS.items():
        complaint = await rehearse(folder)
        print(f"{'FAIL' if complaint else 'ok  '} {name}{f': {complaint}' if complaint else ''}", flush=True)
        complaints += [f"{name}: {complaint}"] if complaint else []
    return complaints
