"""What ``app/lookup/cache/redis.py`` relies on of redis-py beyond its documented calls: fails when it changes that."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.anyio


def single(redis: RedisServer) -> Any:
    """A client of one connection; not typed, since redis-py's types stop here."""
    return Redis.from_url(redis.url, protocol=2, single_connection_client=True, retry=Retry(NoBackoff(), 1))


async def test_a_client_of_one_connection_has_it_once_it_is_initialized_and_answers_as_one_with_a_pool_does(
    shared_redis: RedisServer,
) -> None:
    one = single(shared_redis)
    pool: Any = Redis.from_url(shared_redis.url, protocol=2)
    assert not one.connection
    await one.initialize()
    assert AbstractConnection in type(one.connection).__mro__
    await one.connection.connect()
    numbers = await asyncio.gather(*(one.execute_command("CLIENT ID") for _ in range(2)))
    assert len({*numbers}) == 1, "every call goes over the same connection"
    script = "return {KEYS[1], ARGV[1], 1, false}"
    assert await one.eval(script, 1, "key", "ä") == await pool.eval(script, 1, "key", "ä")
    for client in (one, pool):
        await client.aclose()


class Told:
    """Counts the connections that redis-py makes by itself."""

    def __init__(self) -> None:
        self.times = 0

    def on_connect(self, _connection: object) -> None:
        """One more."""
        self.times += 1


async def test_of_each_connection_that_redis_py_makes_by_itself_a_callback_is_told(shared_redis: RedisServer) -> None:
    client, told = single(shared_redis), Told()
    await client.initialize()
    await client.connection.connect()
    client.connection.register_connect_callback(told.on_connect)
    for times in range(3):
        assert await client.execute_command("PING")
        assert told.times == times
        shared_redis.ask("CLIENT", "KILL", "TYPE", "normal")
    await client.aclose()


async def test_a_connection_can_be_let_go_without_waiting_for_a_server_that_hangs(
    start_redis: Callable[..., RedisServer],
) -> None:
    redis = start_redis()
    client = single(redis)
    await client.initialize()
    assert client.connection is not None
    await client.connection.connect()
    sending = client.connection._writer
    redis.pause()
    # More than the system's buffers take, so that something is left to be sent.
    writing = asyncio.ensure_future(client.execute_command("SET", "key", b"x" * 2**25))
    await asyncio.sleep(0.2)
    try:
        async with asyncio.timeout(5):
            await client.connection.disconnect(nowait=True)
            assert not client.connection.is_connected
    finally:
        writing.cancel()
        redis.resume()
        with contextlib.suppress(asyncio.CancelledError, exceptions.RedisError):
            await writing
        with contextlib.suppress(ConnectionError):
            await sending.wait_closed()
        await client.aclose()


async def test_a_read_that_is_cancelled_leaves_no_connection_with_a_reply_behind(
    start_redis: Callable[..., RedisServer],
) -> None:
    # RedisStore drops its connection all the same: nothing of redis-py's documentation promises this.
    assert inspect.signature(AbstractConnection.read_response).parameters["disconnect_on_error"].default is True
    redis = start_redis()
    client = single(redis)
    await client.set("key", "value")
    redis.pause()
    reading = asyncio.ensure_future(client.execute_command("GET", "key"))
    await asyncio.sleep(0.05)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    redis.resume()
    assert await client.get("another") is None
    await client.aclose()
