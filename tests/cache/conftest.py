"""One Redis for the tests that only use it, and one for each test that does something to it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.lookup.cache import redis, two_levels
from tests.support.redis_server import PROGRAM, RedisServer


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine must not look like a slow Redis, except to the tests that are about the limit."""
    if "the_real_limit" not in request.fixturenames:
        monkeypatch.setattr(redis, "CALL_LIMIT", 10.0)
        monkeypatch.setattr(two_levels, "READ_LIMIT", 10.0)


@pytest.fixture
def the_real_limit() -> None:
    """Asked for by tests that need the limit to be what it is."""


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
        folder = tmp_path / f"redis-{len(servers)}"
        folder.mkdir()
        server = RedisServer(folder, *options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()
