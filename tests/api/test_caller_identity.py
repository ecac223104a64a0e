"""Who asks is known to the queue, whichever way a request takes there."""

import asyncio

import pytest

from app.lookup.caller import Caller
from tests.support.platform import FakePlatform
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import Stage, stage

KEY = "planted-key-4be1f0"
WAYS = {
    "shortcut": "/messages/1/state",
    "route": "/messages/1/state?wait=0",
    "long poll": "/messages/1/state?wait=1",
    "stream": "/messages/states/events?id=1",
    "batch": "/messages/states",
}


async def asked_by(service: Stage, way: str) -> list[Caller]:
    """Who waits in the queue once a request has come by this way."""
    method, body = ("POST", {"ids": [1]}) if way == "batch" else ("GET", None)
    headers = {"X-API-Key": KEY}
    sent = asyncio.create_task(service.client.request(method, WAYS[way], json=body, headers=headers))
    await asyncio.sleep(0.01)
    callers = [waiter.caller for waiter in service.app.state.service.engine.queue._waiters]
    sent.cancel()
    await asyncio.gather(sent, return_exceptions=True)
    return callers


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("keys", "caller"), [(f"shop:{KEY}", Caller("shop", "shop")), (None, Caller("127.0.0.1", "address"))]
)
def test_the_queue_knows_who_asks_by_the_name_of_a_key_else_by_the_address(
    way: str, keys: str | None, caller: Caller
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.before = lambda _: asyncio.sleep(1)
        async with stage(platform, api_keys=keys) as service:
            assert await asked_by(service, way) == [caller]

    scenario()
