"""Behind real proxies, with kept connections and upgrades passed on, nobody sees another caller's answer."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from tests.door.case import batch, get, request
from tests.support.door import RawCaller, at_the_door
from tests.support.proxies import PROXIES, Proxy, proxied, skip_without

pytestmark = pytest.mark.anyio

CLIENTS = 10
SMUGGLERS = 6
TURNS = 10
SMUGGLED = 82217
"""What the smuggler asks for, and hides in its bodies: pending for a while."""
OFFERS = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAA"),
    ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    ("Connection: Upgrade", "Upgrade: odd"),
)


async def one_client(number: int, port: int) -> None:
    """Asks again and again with a key and ids of its own, and looks at each answer."""
    for turn in range(TURNS):
        id_ = (number + 1) * 1_000_000 + turn * 10
        fields = (f"X-API-Key: planted-key-of-client-{number}", f"X-Request-ID: client-{number}-{turn}")
        async with asyncio.timeout(30):
            caller = RawCaller(*await asyncio.open_connection("127.0.0.1", port))
            body = b'{"ids":[%d]}' % id_
            await caller.send(batch(*fields, body=body) if turn % 2 else get(f"/messages/{id_}/state", *fields))
            reply = await caller.reply()
            await caller.close()
        assert reply.status == 200, reply
        assert reply.headers["x-request-id"] == f"client-{number}-{turn}"
        state = reply.document["states"][0] if turn % 2 else reply.document
        assert state["id"] == id_


async def smuggler(port: int, number: int) -> None:
    """Offers upgrades, with bodies that look like requests, as a whole and in packets of their own.

    Both requests take a second, so that a proxy has the first answer, and has given the connection to somebody else,
    before there is one to the second.
    """
    key = "X-API-Key: planted-key-of-client-0"
    hidden = get(f"/messages/{SMUGGLED + 10 * number}/state?wait=1", key, "X-Request-ID: smuggled")
    offer = OFFERS[number % len(OFFERS)]
    path = f"/messages/{SMUGGLED + 10 * number}/state?wait=1"
    fields = (*offer, key, f"Content-Length: {len(hidden)}")
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(30):
            caller = RawCaller(*await asyncio.open_connection("127.0.0.1", port))
            await caller.send(request("GET", path, *fields))
            await asyncio.sleep(0.05 * (number % 3))
            await caller.send(hidden)
            reply = await caller.reply()
            assert reply.headers.get("x-request-id") != "smuggled"
            await caller.close()


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.program)
async def test_clients_behind_a_proxy_never_see_each_others_answers(proxy: Proxy, tmp_path: Path) -> None:
    skip_without(proxy)
    keys = ",".join(f"client{number}:planted-key-of-client-{number}" for number in range(CLIENTS))
    async with at_the_door(api_keys=keys) as door, proxied(proxy, door.port, tmp_path) as port:
        await asyncio.gather(*(one_client(number, port) for number in range(CLIENTS)))
        await asyncio.gather(*(smuggler(port, number) for number in range(SMUGGLERS)))
        # Now the proxy's kept connections are those that a smuggler had.
        await asyncio.gather(*(one_client(number, port) for number in range(CLIENTS)))
