"""What replicas tell each other, so that who waits on one of them hears what another one learned.

Changes alone are told, each once: a replica remembers what it told and heard of last. What gets lost on the way costs
nobody more than the time until the next round of its own.
"""

import asyncio
import contextlib
import itertools
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Protocol

from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.protocol import Lifetimes
from app.lookup.cache.values import decode, encode
from app.lookup.platform import Answer
from app.lookup.resilience import Clock
from app.lookup.states import MessageRecord, supersedes

MAX_TOLD = 250
"""Messages in one round trip; lookups wait for their turn."""
MAX_UNTOLD = 10_000
MAX_KNOWN = 100_000
"""Messages of which it is remembered what all replicas know; about 130 bytes each."""


class Post(Protocol):
    """What carries news. None of it raises."""

    async def publish(self, news: Collection[bytes]) -> None:
        """Tell all replicas, this one included."""

    async def listen(self, take: Callable[[bytes], None]) -> None:
        """Pass on what replicas publish, until it is cancelled."""

    def unreadable(self, operation: str) -> None:
        """Count what came and cannot be read."""


class News:
    """Tells other replicas what this one learns, and ``hear`` what both learn."""

    def __init__(
        self,
        post: Post,
        memory: MemoryCache,
        clock: Clock,
        lifetimes: Lifetimes,
        hear: Callable[[int, Answer], None],
    ) -> None:
        self._post = post
        self._memory = memory
        self._clock = clock
        self._lifetimes = lifetimes
        self._hear = hear
        self._name = secrets.token_hex(6).encode()
        self._known: OrderedDict[int, int] = OrderedDict()
        self._untold: dict[int, MessageRecord] = {}
        self._telling: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._listening = asyncio.get_running_loop().create_task(self._post.listen(self._take))

    def tell(self, id_: int, answer: Answer) -> None:
        """This replica has learned something; the others are told soon, where it is a change."""
        self._hear(id_, answer)
        # A failure is one replica's own, and what is not found may be found by the next question.
        if self._listening is None or not isinstance(answer, MessageRecord) or not self._is_change(id_, answer):
            return
        if len(self._untold) < MAX_UNTOLD or id_ in self._untold:
            self._untold[id_] = answer
        if self._telling is None:
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def aclose(self) -> None:
        """Tell what is not told yet, and stop."""
        listening, self._listening = self._listening, None
        if self._telling is not None:
            await asyncio.wait([self._telling])
        if listening is not None:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _tell(self) -> None:
        try:
            while self._untold:
                chosen = dict(itertools.islice(self._untold.items(), MAX_TOLD))
                for id_ in chosen:
                    del self._untold[id_]
                await self._post.publish([self._written(id_, record) for id_, record in chosen.items()])
        finally:
            self._telling = None

    def _written(self, id_: int, record: MessageRecord) -> bytes:
        lifetime_ms = int(self._lifetimes.of(record) * 1000)
        return b"%b %d %d %b" % (self._name, id_, lifetime_ms, encode(record, lifetime_ms))

    def _take(self, news: bytes) -> None:
        name, _, rest = news.partition(b" ")
        if name == self._name:
            return
        number, _, found = rest.partition(b" ")
        try:
            id_ = int(number)
            heard = decode(id_, found, self._clock(), self._lifetimes)
        except ValueError:
            self._post.unreadable("listen")
            return
        if heard is None or not isinstance(heard.answer, MessageRecord):
            return
        own = self._memory.get(id_)
        # News may be overtaken on its way; who is in doubt asks the platform in its own time.
        if own is not None and isinstance(own.answer, MessageRecord) and not supersedes(heard.answer, own.answer):
            return
        kept = self._memory.adopt(id_, heard)
        self._is_change(id_, heard.answer)  # not to be told again
        self._hear(id_, kept)

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
