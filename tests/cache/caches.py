"""Caches for the tests: on a clock that stands still until it is moved, with keys that nobody else uses."""

import itertools
import os

from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.redis import RedisStore
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.lifetimes import Lifetimes

LIFETIMES = Lifetimes(pending=20, delivered=60, final=86_400, not_found=30)
"""Redis counts real seconds: nothing may run out on a busy machine but where a test says so."""
PLATFORM = "http://platform.test/json/state.php"

_numbers = itertools.count()


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def memory(clock: Clock, lifetimes: Lifetimes = LIFETIMES) -> MemoryCache:
    """A memory cache with room enough."""
    return MemoryCache(clock, lifetimes, max_entries=10_000)


def own_prefix() -> str:
    """A prefix that no other test has."""
    return f"test-{os.getpid()}-{next(_numbers)}"


async def shared(
    url: str, prefix: str, clock: Clock, lifetimes: Lifetimes = LIFETIMES, platform: str = PLATFORM
) -> tuple[TwoLevelCache, RedisStore]:
    """What one replica has: a memory of its own before a connected store."""
    store = RedisStore(url, prefix, platform, clock, lifetimes)
    await store.connect()
    assert store.usable, store.errors
    return TwoLevelCache(memory(clock, lifetimes), store), store
