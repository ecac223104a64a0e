"""Two levels: this process's memory, and behind it a store that all replicas share.

Reads that start in one iteration of the event loop share one round trip, so that their ids reach the queue together and
share one request to the platform; the next ones gather until the reply is there. Writes leave in the background. A
lookup waits for the store at most ``READ_LIMIT``; nothing that goes wrong there reaches it.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from contextvars import Context
from typing import Protocol

from app.lookup.cache.memory import MemoryCache
from app.lookup.lifetimes import Cached
from app.lookup.record import Cacheable, serves

READ_LIMIT = 0.05
"""Seconds."""
LEAST_LIMIT = 0.005
"""If less time is left, do not ask: a timeout would close the connection."""
MAX_READ = 1000
"""Ids in one round trip; they cost the server about a millisecond, and this process a few."""
MAX_WRITTEN = 250
"""A write costs several times as much, and reads wait for their turn."""
MAX_UNWRITTEN = 10_000
WRITE_ATTEMPTS = 2
"""A final state that is not written is asked for again by every replica; one lost connection must not do that."""
RETRY_SECONDS = 1.0
"""Between two attempts to write what a server in trouble did not take."""


class Store(Protocol):
    """What is needed of the second level. None of it raises."""

    def ready(self) -> bool:
        """Whether it can be asked now."""

    def writable(self) -> bool:
        """Whether it is worth while to write."""

    async def read(self, ids: Collection[int], limit: float) -> dict[int, Cached]:
        """What is there, within ``limit`` seconds; also what is no longer good, for the age of its state."""

    async def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached] | None:
        """Write answers. Returns what is there instead: a final state, a later reply, a detail; None: it failed."""

    async def aclose(self) -> None:
        """Close what is open."""


class TwoLevelCache:
    """Answers from memory, else from the store.

    ``hits`` counts ids by level (``memory``, ``shared``), ``misses`` those that neither has; ``dropped`` counts
    answers that were not written: while the store takes none, the latest ``MAX_UNWRITTEN`` wait for it.
    """

    def __init__(self, memory: MemoryCache, store: Store) -> None:
        self._memory = memory
        self._store = store
        self._gathering: _Trip | None = None
        self._reading: asyncio.Task[None] | None = None
        self._unwritten: dict[int, Cached] = {}
        self._writing: asyncio.Task[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self.hits: Counter[str] = Counter()
        self.misses = 0
        self.dropped = 0

    async def get_many(self, ids: Collection[int], detail: bool = False, *, as_use: bool = True) -> dict[int, Cached]:
        """What is known and still good. Who wants detail gets it from the store where memory has the state alone."""
        found = await self._memory.get_many(ids, as_use=as_use)
        missing = [id_ for id_ in ids if id_ not in found or not serves(found[id_].answer, detail)]
        self.hits["memory"] += len(ids) - len(missing)
        if not missing:
            return found
        if self._store.ready():
            read = await self._read(missing)
            for id_ in missing:
                # Memory first: the platform may have answered somebody else meanwhile.
                cached = (self._memory.get(id_) if as_use else self._memory.peek(id_)) or read.get(id_)
                if cached is not None:
                    found[id_] = cached
        served = sum(id_ in found and serves(found[id_].answer, detail) for id_ in missing)
        self.hits["shared"] += served
        self.misses += len(missing) - served
        return found

    def at_hand(self, id_: int, detail: bool) -> Cached | None:
        """The state of a message with what is wanted, where memory has it and it is still good."""
        cached = self._memory.at_hand(id_, detail)
        self.hits["memory"] += cached is not None
        return cached

    def put(self, id_: int, answer: Cacheable, *, reported: bool = False, replied_at: float | None = None) -> Cached:
        """Keep an answer in memory now, and in the store soon."""
        kept = self._memory.put(id_, answer, reported=reported, replied_at=replied_at)
        if kept.ttl <= 0:
            return kept
        self._unwritten[id_] = kept
        self._bound_unwritten()
        self._start_writing()
        return kept

    async def flush(self) -> None:
        """Wait until everything is written, or the store takes no more."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def aclose(self) -> None:
        """Write what is not written yet, as far as the store takes it, and close it."""
        await self.flush()
        if self._retry is not None:
            self._retry.cancel()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        await self._store.aclose()

    async def _read(self, ids: list[int]) -> dict[int, Cached]:
        if self._gathering is None:
            self._gathering = _Trip()
        trip = self._gathering
        trip.wanted.update(dict.fromkeys(ids))
        if self._reading is None:
            # A task starts with the next iteration of the event loop, after everybody who asks in this one.
            self._reading = asyncio.get_running_loop().create_task(self._read_gathered())
        # Shielded: a caller that leaves takes nothing from the others.
        return await asyncio.shield(trip.found)

    async def _read_gathered(self) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._gathering is not None:
                trip, self._gathering = self._gathering, None
                found: dict[int, Cached] = {}
                wanted = iter(trip.wanted)
                try:
                    while ids := list(itertools.islice(wanted, MAX_READ)):
                        left = trip.until - clock()
                        if left >= LEAST_LIMIT and self._store.ready():
                            found |= await self._store.read(ids, left)
                    found = self._adopt(found)
                finally:
                    trip.found.set_result(found)
        finally:
            self._reading = None

    def _start_writing(self) -> None:
        if self._writing is not None or not self._unwritten:
            return
        if self._store.writable():
            self._writing = asyncio.get_running_loop().create_task(self._write())
        else:
            self._write_later()

    def _write_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._write_again, context=Context())

    def _write_again(self) -> None:
        self._retry = None
        self._start_writing()

    async def _write(self) -> None:
        try:
            while self._unwritten:
                chosen = dict(itertools.islice(self._unwritten.items(), MAX_WRITTEN))
                for id_ in chosen:
                    del self._unwritten[id_]
                kept = None
                for _ in range(WRITE_ATTEMPTS):
                    if kept is None and self._store.writable():
                        kept = await self._store.write(chosen)
                if kept is None:
                    self._unwritten = chosen | self._unwritten
                    self._bound_unwritten()
                    self._write_later()
                    return
                self._adopt(kept)
        finally:
            self._writing = None

    def _bound_unwritten(self) -> None:
        while len(self._unwritten) > MAX_UNWRITTEN:
            del self._unwritten[next(iter(self._unwritten))]
            self.dropped += 1

    def _adopt(self, found: Mapping[int, Cached]) -> dict[int, Cached]:
        """Take what the store has into memory. Returns what of it is still good."""
        adopted = {id_: self._memory.adopt(id_, cached) for id_, cached in found.items()}
        return {id_: cached for id_, cached in adopted.items() if self._memory.is_good(cached)}


class _Trip:
    """Ids that are read together, and what comes of it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.wanted: dict[int, None] = {}
        self.until = loop.time() + READ_LIMIT
        self.found: asyncio.Future[dict[int, Cached]] = loop.create_future()
