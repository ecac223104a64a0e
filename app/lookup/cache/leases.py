"""What several replicas watch is asked for by one of them: a lease on each id names the replica that asks.

A lease is taken or renewed for many ids in the round trip that reads what the others have learned. It lasts for one
lifetime of its id, by the server's clock alone. Its holder asks the platform; the others take the answer from the
shared cache, or take the lease over once it has run out. Poll cycles look at leases, and so do waits and streams when
they begin: other lookups never do.
"""

import asyncio
import math
import secrets
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from app.lookup.cache.memory import MemoryCache
from app.lookup.lifetimes import Cached

MAX_LEASED = 500
"""Ids in one round trip; lookups wait for their turn."""


class LeaseStore(Protocol):
    """Where the leases are. None of it raises."""

    async def lease(self, holder: str, seconds: Mapping[int, float]) -> tuple[dict[int, Cached], set[int]] | None:
        """Take or renew leases for so many seconds each. Returns what is known of the ids, and of which the lease is
        the holder's; None where it failed."""

    async def release(self, holder: str, ids: Collection[int]) -> None:
        """End leases of this holder."""


class Due(NamedTuple):
    """An id that is to be asked for: the second of the last answer known here, and how many it was good for."""

    asked_at: float
    ttl: float


class Leases:
    """This replica's leases, under its ``name``. ``held``: ids that it asks for. ``saved`` counts answers that another
    replica got."""

    def __init__(self, store: LeaseStore, memory: MemoryCache) -> None:
        self._store = store
        self._memory = memory
        self.name = secrets.token_hex(6)
        self._beginning = _Beginning()
        self._turn = asyncio.Lock()
        self.held: set[int] = set()
        self.saved = 0

    async def take(self, due: Mapping[int, Due]) -> tuple[dict[int, Cached], set[int]]:
        """What is known of the ids, from the shared cache, and which of them this replica asks for.

        Where the server does not answer this replica asks for all of them.
        """
        known: dict[int, Cached] = {}
        mine: set[int] = set()
        ids = list(due)
        for start in range(0, len(ids), MAX_LEASED):
            chosen = ids[start : start + MAX_LEASED]
            taken = await self._store.lease(self.name, {id_: due[id_].ttl for id_ in chosen})
            if taken is None:
                mine.update(chosen)
                self.held.difference_update(chosen)
                continue
            found, leased = taken
            known |= {id_: self._memory.adopt(id_, cached) for id_, cached in found.items()}
            mine |= leased
            self.held.difference_update(chosen)
            self.held |= leased
        return known, mine

    async def renew(self, ids: Iterable[int], seconds: float) -> None:
        """Keep those of the leases that this replica holds for so many seconds more."""
        held = self.held.intersection(ids)
        if held:
            await self.take({id_: Due(-math.inf, seconds) for id_ in held})

    def knows(self, id_: int) -> bool:
        """Whether this replica has an answer that is still good."""
        return self._memory.peek(id_) is not None

    async def asked_elsewhere(self, ids: Iterable[int], seconds: float) -> set[int]:
        """Of which of these ids nobody knows anything, while another replica asks for them.

        Where none does, this one takes the lease for so many seconds. All who come during one round trip share the
        next one.
        """
        unknown = [id_ for id_ in ids if id_ not in self.held and not self.knows(id_)]
        if not unknown:
            return set()
        mine = self._beginning
        mine.ids.update(unknown)
        async with self._turn:
            if mine is self._beginning:
                self._beginning = _Beginning()
                known, leased = await self.take({id_: Due(-math.inf, seconds) for id_ in mine.ids})
                mine.elsewhere = mine.ids - known.keys() - leased
        return mine.elsewhere.intersection(unknown)

    async def release(self, ids: Iterable[int]) -> None:
        """Let others ask: nobody watches these ids here any more, or the platform cannot be asked from here."""
        released = self.held.intersection(ids)
        self.held -= released
        if released:
            await self._store.release(self.name, released)


class _Beginning:
    """Ids that somebody begins to watch, in one round trip, and those of them that another replica asks for."""

    def __init__(self) -> None:
        self.ids: set[int] = set()
        self.elsewhere: set[int] = set()
