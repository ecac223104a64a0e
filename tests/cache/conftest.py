"""One Redis for the tests that only use it, and one for each test that does something to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.redis_server import PROGRAM, RedisServer


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that all tests use; each with keys of its own."""
    if PROGRAM is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Start a server with these options, for this test alone."""
    if PROGRAM is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    servers: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        server = RedisServer(tmp_path, *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
