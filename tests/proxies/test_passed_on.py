"""What nginx, HAProxy and Caddy pass on: batches, waits, quiet streams, and many requests over kept connections."""

import asyncio
import gzip
import json
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.api import event_stream
from tests.door.case import batch, get, request
from tests.support.door import RawCaller, at_the_door
from tests.support.proxies import PROXIES, Proxy, installed, proxied, skip_without
from tests.support.scale import only_in_ci, scaled
from tests.support.watching import WEBHOOK, WEBHOOK_TOKEN

pytestmark = pytest.mark.anyio
through_each = pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.program)

CONNECTIONS = 10
REQUESTS = scaled(2_000, 300)
"""Over kept connections of each proxy."""
COMMENTS = 5
"""That a stream brings while nothing changes. With five of them it is quiet for longer than any proxy waits."""
TIMES_FASTER = scaled(10, 15)
"""So much more often comments come than every 15 s, and so much sooner the proxies lose their patience."""
PENDING = 82210
DELIVERED = 82216


async def connect(port: int) -> RawCaller:
    return RawCaller(*await asyncio.open_connection("127.0.0.1", port))


@through_each
async def test_a_batch_comes_through_whole_and_compressed(proxy: Proxy, tmp_path: Path) -> None:
    skip_without(proxy)
    ids = list(range(10_000, 20_000, 10))
    body = json.dumps({"ids": ids}).encode()
    async with at_the_door() as door, proxied(proxy, door.port, tmp_path) as port:
        caller = await connect(port)
        await caller.send(batch("Accept-Encoding: gzip", body=body))
        reply = await caller.reply()
        await caller.close()
    assert (reply.status, reply.headers["content-encoding"]) == (200, "gzip")
    states = json.loads(gzip.decompress(reply.body))["states"]
    assert [state["id"] for state in states] == ids


@through_each
async def test_a_wait_comes_through_with_the_tag_that_the_proxy_gave(proxy: Proxy, tmp_path: Path) -> None:
    skip_without(proxy)
    async with at_the_door() as door, proxied(proxy, door.port, tmp_path) as port:
        caller = await connect(port)
        await caller.send(get(f"/messages/{PENDING}/state", "Accept-Encoding: gzip"))
        first = await caller.reply()
        await caller.send(get(f"/messages/{PENDING}/state?wait=1", f"If-None-Match: {first.headers['etag']}"))
        waited = await caller.reply()
        await caller.close()
    assert (first.status, waited.status) == (200, 304)


@only_in_ci
async def test_quiet_streams_stay_open_and_bring_the_next_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Through all proxies at once: most of it is silence.
    proxies = [proxy for proxy in PROXIES if installed(proxy.program) is not None]
    if not proxies:
        pytest.skip("needs a proxy: nginx, haproxy or caddy")
    monkeypatch.setattr(event_stream, "COMMENT_SECONDS", event_stream.COMMENT_SECONDS / TIMES_FASTER)
    async with at_the_door(webhook_token=WEBHOOK_TOKEN) as door, AsyncExitStack() as stack:
        streams = []
        for proxy in proxies:
            folder = tmp_path / proxy.program
            folder.mkdir()
            port = await stack.enter_async_context(proxied(proxy, door.port, folder, TIMES_FASTER))
            streams.append(await connect(port))
            # Before its proxy ends, which would wait for it.
            stack.push_async_callback(streams[-1].close)
        await asyncio.gather(*map(stay_quiet, streams))
        entry = [{"id_sms": str(PENDING), "time": "2021-04-26 15:15:03", "state": "read"}]
        platform = await connect(door.port)
        body = json.dumps(entry).encode()
        await platform.send(request("POST", WEBHOOK, f"Content-Length: {len(body)}", body=body))
        assert (await platform.reply()).document == [{"id_sms": PENDING}]
        async with asyncio.timeout(5):
            for stream in streams:
                await stream.reader.readuntil(b'"state":"read"')
                await stream.reader.readuntil(b"event: end")
        await platform.close()


async def stay_quiet(stream: RawCaller) -> None:
    """Begin a stream in which nothing changes, and listen for some comments."""
    await stream.send(get(f"/messages/states/events?id={PENDING}"))
    head = await stream.reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0]
    assert b"no-transform" in head
    for _ in range(COMMENTS):
        async with asyncio.timeout(40):
            await stream.reader.readuntil(b": still here")


@through_each
async def test_many_requests_over_kept_connections_bring_no_5xx(proxy: Proxy, tmp_path: Path) -> None:
    skip_without(proxy)
    statuses: Counter[int] = Counter()

    async def one_caller(port: int) -> None:
        caller = await connect(port)
        for turn in range(REQUESTS // CONNECTIONS):
            if turn % 10:
                await caller.send(get(f"/messages/{DELIVERED}/state"))
            else:
                await caller.send(batch(body=b'{"ids":[%d]}' % DELIVERED))
            reply = await caller.reply()
            statuses[reply.status] += 1
            if reply.headers.get("connection") == "close":  # nginx, after 100 requests
                await caller.close()
                caller = await connect(port)
        await caller.close()

    async with at_the_door() as door, proxied(proxy, door.port, tmp_path) as port:
        await asyncio.gather(*(one_caller(port) for _ in range(CONNECTIONS)))
    assert statuses == {200: REQUESTS}
