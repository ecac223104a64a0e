"""What a drill cannot read from metrics: how a process ends, what its metrics port bears, and what it never shows."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

import httpx

from tests.support.addresses import has_ipv6
from tools.drill.platform import Platform
from tools.drill.service import PIPE_BYTES, Place, Service, service, started

GRACE_SECONDS = 1.0
SETTINGS = {"SHUTDOWN_GRACE": str(GRACE_SECONDS), "API_KEYS": ""}
TOKEN = "drill-token-0123456789"
SHOWN_AT_MOST = 5
"""Characters of a credential, in a row."""
LINE_BYTES = 200
"""Of a line about a request, at least."""
HEALTH_SECONDS = 20.0

Complaint = str | None


async def _ended(running: Service, *, within: float) -> Complaint:
    """What is wrong with the end of a service that was sent its signals; None where nothing is."""
    begun = time.monotonic()
    try:
        status = await running.ended(within)
    except TimeoutError:
        return f"it has not ended after {within:g} s"
    return None if status == 0 else f"it ended with {status} after {time.monotonic() - begun:.1f} s"


async def sigterm_while_it_starts(place: Place) -> Complaint:
    """A moment after the first lines of Python."""
    for moment in (0.1, 0.3, 0.6):
        async with started("sandbox:", place, SETTINGS) as running:
            await running.begun()
            await asyncio.sleep(moment)
            await running.send(signal.SIGTERM)
            complaint = await _ended(running, within=5)
            if complaint:
                return f"after {moment} s: {complaint}"
    return None


async def sigterm_while_it_serves(place: Place) -> Complaint:
    """As of a roll-out: the request in flight is answered."""
    return await _signal_with_a_request_in_flight(place, signal.SIGTERM)


async def many_sigterms(place: Place) -> Complaint:
    """As of an operator who loses patience."""
    async with service("sandbox:", place, SETTINGS) as running:
        for _ in range(20):
            await running.send(signal.SIGTERM)
            await asyncio.sleep(0.02)
        return await _ended(running, within=GRACE_SECONDS + 2)


async def sighup_with_a_request_in_flight(place: Place) -> Complaint:
    """As of a terminal that is closed."""
    return await _signal_with_a_request_in_flight(place, signal.SIGHUP)


async def _signal_with_a_request_in_flight(place: Place, number: signal.Signals) -> Complaint:
    async with Platform() as platform, service(platform.url, place, SETTINGS) as running, _client() as client:
        await platform.switch("slow")
        answer = asyncio.create_task(client.get(f"{running.url}/messages/1/state"))
        await asyncio.sleep(0.3)
        await running.send(number)
        status = (await answer).status_code
        return await _ended(running, within=GRACE_SECONDS + 2) or (None if status == 200 else f"a caller got {status}")


async def closed_standard_error(place: Place) -> Complaint:
    """There is nothing that the log could go to."""
    async with service("sandbox:", place, SETTINGS, log="closed") as running, _client() as client:
        status = (await client.get(f"{running.url}/messages/82216/state")).status_code
        await running.send(signal.SIGTERM)
        return await _ended(running, within=GRACE_SECONDS + 2) or (None if status == 200 else f"a caller got {status}")


async def log_that_nobody_reads_at_the_end(place: Place) -> Complaint:
    """So that lines wait when a signal comes."""
    async with service("sandbox:", place, SETTINGS, log="unread") as running, _client() as client:
        running.stop_reading()
        for _ in range(PIPE_BYTES // LINE_BYTES * 2):
            await client.get(f"{running.url}/messages/82216/state")
        if not (await running.scrape(client))["message_state_log_stuck_seconds"]:
            return "the log is not stuck"
        await running.send(signal.SIGTERM)
        return await _ended(running, within=GRACE_SECONDS + 2)


async def collector_of_traces_that_hangs(place: Place) -> Complaint:
    """It accepts connections, and never answers."""

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0) as collector:
        port = collector.sockets[0].getsockname()[1]
        settings = {**SETTINGS, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        async with service("sandbox:", place, settings) as running, _client() as client:
            await client.get(f"{running.url}/messages/82216/state")
            await running.send(signal.SIGTERM)
            return await _ended(running, within=GRACE_SECONDS + 2)


async def idle_connections_to_the_metrics(place: Place) -> Complaint:
    """Six hundred of them, and one scrape."""
    async with service("sandbox:", place, SETTINGS) as running, _client() as client:
        idle = [await asyncio.open_connection("127.0.0.1", running.metrics_port) for _ in range(600)]
        begun = time.monotonic()
        scraped = await running.scrape(client)
        for _, writer in idle:
            writer.close()
        seconds = time.monotonic() - begun
        if seconds > 2:
            return f"a scrape took {seconds:.1f} s"
        return None if scraped else "a scrape was empty"


async def platform_that_repeats_the_token(place: Place) -> Complaint:
    """In an error text, cut off."""
    settings = {**SETTINGS, "UPSTREAM_TOKEN": TOKEN}
    async with Platform() as platform, service(platform.url, place, settings) as running, _client() as client:
        await platform.switch("repeats the token, cut")
        text = (await client.get(f"{running.url}/messages/1/state")).text
        runs = (TOKEN[at : at + SHOWN_AT_MOST + 1] for at in range(len(TOKEN) - SHOWN_AT_MOST))
        return f"a caller got {text}" if any(run in text for run in runs) else None


async def every_address(place: Place) -> Complaint:
    """``HOST=::`` answers IPv4 and IPv6, metrics and probes included; so does one IPv6 address by itself."""
    for host, asked in (("::", ("127.0.0.1", "[::1]")), ("::1", ("[::1]",))):
        async with service("sandbox:", place, {**SETTINGS, "HOST": host}) as running, _client() as client:
            for address in asked:
                for url in (f"{running.url}/readyz", running.metrics_url):
                    status = (await client.get(url.replace(running.host, address))).status_code
                    if status != 200:
                        return f"HOST={host}: {url} answers {status} at {address}"
            if place.image is not None and await _health(running) != "healthy":
                return f"HOST={host}: Docker finds it {await _health(running)}"
    return None


async def _health(running: Service) -> str:
    """What the image's health check came to."""
    async with asyncio.timeout(HEALTH_SECONDS):
        while (health := await running.told("{{.State.Health.Status}}")) == "starting":  # noqa: ASYNC110 - only Docker knows
            await asyncio.sleep(0.1)
    return health


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(trust_env=False, timeout=30)


ENDS: dict[str, Callable[[Place], Awaitable[Complaint]]] = {
    "SIGTERM while it starts": sigterm_while_it_starts,
    "SIGTERM with a request in flight": sigterm_while_it_serves,
    "twenty SIGTERMs": many_sigterms,
    "SIGHUP with a request in flight": sighup_with_a_request_in_flight,
    "no standard error": closed_standard_error,
    "a log that nobody reads, at the end": log_that_nobody_reads_at_the_end,
    "a collector of traces that hangs": collector_of_traces_that_hangs,
    "idle connections to the metrics port": idle_connections_to_the_metrics,
    "a platform that repeats the token": platform_that_repeats_the_token,
    "IPv6 addresses": every_address,
}


async def ends(place: Place) -> list[str]:
    """Rehearse all of them, one after the other. Returns what was wrong."""
    complaints = []
    for name, rehearse in ENDS.items():
        if rehearse is every_address and not has_ipv6():
            print(f"skip {name}: this machine has none", flush=True)
            continue
        complaint = await rehearse(place)
        print(f"{'FAIL' if complaint else 'ok  '} {name}{f': {complaint}' if complaint else ''}", flush=True)
        complaints += [f"{name}: {complaint}"] if complaint else []
    return complaints
