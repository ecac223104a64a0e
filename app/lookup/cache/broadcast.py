"""Updates between replicas, so that whoever waits on one of them learns what another one was answered.

Only changes are published, each once: a replica remembers what it published and received last. If an update is lost, a
caller that waits sees the change when the answer that it has expires.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Protocol

from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.redis_values import decode, encode
from app.lookup.clock import Clock
from app.lookup.lifetimes import Cached, Lifetimes, Update
from app.lookup.record import MessageRecord, merge

MAX_PUBLISHED = 250
"""Messages in one round trip; lookups wait for their turn."""
MAX_UNPUBLISHED = 10_000
MAX_KNOWN = 100_000
"""Messages of which it is remembered what all replicas know; about 130 bytes each."""


class Channel(Protocol):
    """What carries updates to all replicas. None of it raises."""

    async def publish(self, updates: Collection[bytes]) -> None:
        """Send updates to all replicas, this one included."""

    async def listen(self, take: Callable[[bytes], None]) -> None:
        """Pass on what replicas publish, until it is cancelled."""

    def unreadable(self, operation: str) -> None:
        """Count what came and cannot be read."""


class Broadcast:
    """Publishes what this replica learns, and calls ``on_update`` with what any replica learns."""

    def __init__(
        self,
        channel: Channel,
        memory: MemoryCache,
        clock: Clock,
        lifetimes: Lifetimes,
        on_update: Callable[[int, Update], None],
    ) -> None:
        self._channel = channel
        self._memory = memory
        self._clock = clock
        self._lifetimes = lifetimes
        self._on_update = on_update
        self._name = secrets.token_hex(6).encode()
        self._known: OrderedDict[int, int] = OrderedDict()
        self._unpublished: dict[int, MessageRecord] = {}
        self._publishing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._listening = asyncio.get_running_loop().create_task(self._channel.listen(self._receive))

    def publish(self, id_: int, update: Update) -> None:
        """Notify those who wait here, and publish to the other replicas where it is a change."""
        self._on_update(id_, update)
        answer = update.answer if isinstance(update, Cached) else update
        # A failure is one replica's own, and what is not found may be found by the next question.
        if self._listening is None or not isinstance(answer, MessageRecord) or not self._is_change(id_, answer):
            return
        if len(self._unpublished) < MAX_UNPUBLISHED or id_ in self._unpublished:
            self._unpublished[id_] = answer
        if self._publishing is None:
            self._publishing = asyncio.get_running_loop().create_task(self._publish())

    async def aclose(self) -> None:
        """Publish what is not published yet, and stop."""
        listening, self._listening = self._listening, None
        if self._publishing is not None:
            await asyncio.wait([self._publishing])
        if listening is not None:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _publish(self) -> None:
        try:
            while self._unpublished:
                chosen = dict(itertools.islice(self._unpublished.items(), MAX_PUBLISHED))
                for id_ in chosen:
                    del self._unpublished[id_]
                await self._channel.publish([self._encoded(id_, record) for id_, record in chosen.items()])
        finally:
            self._publishing = None

    def _encoded(self, id_: int, record: MessageRecord) -> bytes:
        lifetime_ms = int(self._lifetimes.of(record) * 1000)
        return b"%b %d %d %b" % (self._name, id_, lifetime_ms, encode(record, lifetime_ms))

    def _receive(self, update: bytes) -> None:
        name, _, rest = update.partition(b" ")
        if name == self._name:
            return
        number, _, found = rest.partition(b" ")
        try:
            id_ = int(number)
            received = decode(id_, found)
        except ValueError:
            self._channel.unreadable("listen")
            return
        if received is None or not isinstance(received.answer, MessageRecord):
            return
        own = self._memory.peek(id_)
        # An update may be overtaken on its way; whoever is in doubt asks the platform in its own time.
        if own is not None and merge(received.answer, own.answer, in_order=False) is own.answer:
            return
        # Only changes are published: the state is as new as the update.
        now = self._clock()
        kept = self._memory.adopt(id_, self._lifetimes.cached(received.answer, now, now))
        self._is_change(id_, received.answer)  # not to be published again
        self._on_update(id_, kept)

    def _is_change(self, id_: int, record: MessageRecord) -> bool:
        """Whether this is not what all replicas know already. From now on it is."""
        mark = hash((record.state, record.changed_at)) << 1
        known = self._known.get(id_)
        if known is not None and known & ~1 == mark and (known & 1 or not record.detailed):
            self._known.move_to_end(id_)
            return False
        self._known[id_] = mark | record.detailed
        self._known.move_to_end(id_)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return True
