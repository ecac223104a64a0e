"""Replicas on virtual time that share a store in memory, which does what Redis does for them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.lookup.cache.broadcast import Broadcast
from app.lookup.cache.leases import Leases
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.failures import LookupFailure
from app.lookup.lifetimes import Cached, Lifetimes
from app.lookup.record import merge
from app.lookup.subscriptions import Subscription, Subscriptions
from app.lookup.watcher import Watcher
from tests.support.lookup import LIFETIMES, PlatformInMemory, ReplyInMemory, engine_before
from tests.support.virtual_time import loop

ROUND_TRIP = 0.001


class SharedStore:
    """Values, leases and listeners; time is the loop's."""

    def __init__(self, lifetimes: Lifetimes) -> None:
        self.lifetimes = lifetimes
        self.values: dict[int, Cached] = {}
        self.leases: dict[int, tuple[str, float]] = {}
        self.listeners: list[Callable[[bytes], None]] = []

    def read(self, ids: Collection[int]) -> dict[int, Cached]:
        """What is remembered; a little younger than it is, for the time that the reply takes is not counted."""
        found = {id_: self.values[id_] for id_ in ids if id_ in self.values}
        return {
            id_: each._replace(replied_at=each.replied_at + ROUND_TRIP / 2)
            for id_, each in found.items()
            if self._is_kept(each)
        }

    def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached]:
        """Keep the later reply, and a final state in any case. Returns what is there instead."""
        instead = {}
        for id_, new in answers.items():
            old = self.values.get(id_)
            if old is None or not self._is_kept(old):
                self.values[id_] = new
                continue
            first, last = (old, new) if new.replied_at >= old.replied_at else (new, old)
            kept = last._replace(answer=merge(last.answer, first.answer, in_order=True))
            self.values[id_] = kept
            if kept.answer != new.answer:
                instead[id_] = kept
        return instead

    def lease(self, holder: str, seconds: Mapping[int, float]) -> set[int]:
        """Take or renew what nobody else holds."""
        now, mine = loop().time(), set()
        for id_, each in seconds.items():
            other, until = self.leases.get(id_, (holder, now))
            if other == holder or now >= until:
                self.leases[id_] = holder, now + each
                mine.add(id_)
        return mine

    def release(self, holder: str, ids: Collection[int]) -> None:
        """End leases of this holder."""
        for id_ in ids:
            if self.leases.get(id_, ("", 0.0))[0] == holder:
                del self.leases[id_]

    def _is_kept(self, cached: Cached) -> bool:
        return loop().time() - cached.replied_at < cached.kept


class Connection:
    """A replica's connection to the shared store. ``rejects_leases``: as a server does that allows everything else."""

    def __init__(self, store: SharedStore, running: asyncio.Event) -> None:
        self._store = store
        self._running = running
        self.rejects_leases = False
        self.lease_calls = 0

    @property
    def leases(self) -> dict[int, tuple[str, float]]:
        """All leases: holder and end."""
        return self._store.leases

    async def _round_trip(self) -> None:
        await self._running.wait()
        await asyncio.sleep(ROUND_TRIP / 2)

    def ready(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    async def read(self, ids: Collection[int], limit: float) -> dict[int, Cached]:
        await self._round_trip()
        return self._store.read(ids)

    async def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached] | None:
        await self._round_trip()
        return self._store.write(answers)

    async def lease(self, holder: str, seconds: Mapping[int, float]) -> tuple[dict[int, Cached], set[int]] | None:
        self.lease_calls += 1
        await self._round_trip()
        if self.rejects_leases:
            return None
        mine = self._store.lease(holder, seconds)
        return self._store.read(seconds), mine

    async def release(self, holder: str, ids: Collection[int]) -> None:
        await self._round_trip()
        self._store.release(holder, ids)

    async def publish(self, updates: Collection[bytes]) -> None:
        await self._round_trip()
        for update in updates:
            for listener in self._store.listeners:
                listener(update)

    async def listen(self, take: Callable[[bytes], None]) -> None:
        def receive(update: bytes) -> None:
            if self._running.is_set():  # what a stopped process does not read before its death is lost
                loop().call_later(ROUND_TRIP / 2, take, update)

        self._store.listeners.append(receive)
        await asyncio.Event().wait()

    def unreadable(self, operation: str) -> None:
        raise AssertionError(operation)

    async def aclose(self) -> None:
        self._store.listeners.clear()


class Replica:
    """One process: an engine and a watcher before a platform, with leases in the shared store.

    ``stop`` does what SIGSTOP does, and, where nothing follows, what SIGKILL does: nothing more leaves it.
    """

    def __init__(self, store: SharedStore, platform: PlatformInMemory, **options: Any) -> None:
        clock, lifetimes = loop().time, store.lifetimes
        self._platform = platform
        self._running = asyncio.Event()
        self._running.set()
        self.failing: Callable[[], LookupFailure] | None = None
        self.requests = 0
        self.connection = Connection(store, self._running)
        self.memory = MemoryCache(clock, lifetimes, max_entries=10_000)
        self.subscriptions = Subscriptions(clock, max_waiters=10_000)
        self.broadcast = Broadcast(self.connection, self.memory, clock, lifetimes, self.subscriptions.on_update)
        self.cache = TwoLevelCache(self.memory, self.connection)
        self.engine = engine_before(
            self,  # type: ignore[arg-type]  # a platform: ``send`` and ``read``
            cache=self.cache,
            lifetimes=lifetimes,
            on_update=self.broadcast.publish,
            watching=self.subscriptions.callers,
            **options,
        )
        self.leases = Leases(self.connection, self.memory)
        self.watcher = Watcher(self.engine, self.subscriptions, clock, lifetimes, self.leases)
        self.broadcast.start()

    async def send(self, asked: Mapping[int, bool]) -> ReplyInMemory | LookupFailure:
        """Ask the platform, as this replica sees it."""
        await self._running.wait()
        self.requests += 1
        if self.failing is not None:
            return self.failing().as_value()
        reply = await self._platform.send(asked)
        await self._running.wait()
        return reply

    async def read(self, asked: Mapping[int, bool], reply: ReplyInMemory) -> Any:
        """Read the reply."""
        return await self._platform.read(asked, reply)

    def stop(self) -> None:
        """Do nothing any more."""
        self._running.clear()

    def resume(self) -> None:
        """Go on."""
        self._running.set()

    async def watch(self, ids: Collection[int], detail: bool = False) -> Subscription:
        """Begin to watch, as a stream does: with what is known."""
        subscription = self.watcher.subscribe(ids, detail)
        await self.watcher.begin(subscription)
        return subscription

    def state(self, id_: int) -> str | None:
        """The state that those who wait here know."""
        return getattr(self.watcher.snapshot(id_).answer, "state", None)

    async def aclose(self) -> None:
        """End it, however it was left."""
        self.resume()
        for subscription in list(self.subscriptions._subscriptions):
            subscription.close()
        await self.watcher.aclose()
        await self.broadcast.aclose()
        await self.engine.aclose()
        await self.cache.aclose()


@asynccontextmanager
async def replicas(
    platform: PlatformInMemory, number: int, lifetimes: Lifetimes = LIFETIMES, **options: Any
) -> AsyncIterator[list[Replica]]:
    """So many replicas on one store."""
    store = SharedStore(lifetimes)
    members = [Replica(store, platform, **options) for _ in range(number)]
    await asyncio.sleep(0)
    try:
        yield members
    finally:
        for each in members:
            await each.aclose()
