"""Who waits for changes of which message, and what is known of the messages that somebody waits for.

Changes come from everywhere: a poll of the watcher, another caller's lookup, the platform's webhook, another replica.
All of them end in ``on_update``, which wakes whoever waits for the message, where something changed.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from app.lookup.caller import INTERNAL, Caller
from app.lookup.clock import Clock
from app.lookup.failures import LookupFailure, MessageNotFound, Overloaded
from app.lookup.lifetimes import Cached, Update
from app.lookup.record import Answer, Cacheable, MessageRecord, merge, serves


class Snapshot(NamedTuple):
    """What is known of a message: the last answer of the platform and its second, and the failure since then and its
    second. ``ttl``: seconds in which whichever came last is not asked for again."""

    answer: Cacheable | None
    replied_at: float
    failure: LookupFailure | None
    failed_at: float = -math.inf
    ttl: float = 0.0

    def serves(self, detail: bool) -> bool:
        """Whether there is an answer that has what is wanted."""
        return self.answer is not None and serves(self.answer, detail)

    @property
    def settled(self) -> bool:
        """Whether no change is to be expected: the state is final, or the platform does not know the message."""
        return isinstance(self.answer, MessageNotFound) or (
            isinstance(self.answer, MessageRecord) and self.answer.meaning.final
        )


Limit = Literal["all", "caller"]
"""What has no room: ``max_waiters``, or the caller's share of it."""

NOTHING_KNOWN = Snapshot(None, -math.inf, None)


class Subscription:
    """One caller's wait for changes of some messages. Use it as a context manager, or ``close`` it.

    ``over``: no change will come any more, since the service stops, the caller has left, or its key is ``revoked``.
    """

    __slots__ = ("_changed", "_forget", "_waker", "caller", "detail", "ids", "over", "revoked")

    def __init__(
        self, ids: Iterable[int], detail: bool, caller: Caller, forget: "Callable[[Subscription], None]"
    ) -> None:
        self._forget = forget
        self._changed: dict[int, None] = {}
        self._waker: asyncio.Future[None] | None = None
        self.ids = tuple(dict.fromkeys(ids))
        self.detail = detail
        self.caller = caller
        self.over = False
        self.revoked = False

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def changes(self, seconds: float) -> list[int]:
        """The messages that have changed since the last call, as soon as there are any.

        Empty when the time is up or the wait is ``over``.
        """
        if not self._changed and not self.over and seconds > 0:
            loop = asyncio.get_running_loop()
            self._waker = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waker
            finally:
                timer.cancel()
                self._waker = None
        changed = list(self._changed)
        self._changed.clear()
        return changed

    def notify(self, id_: int) -> None:
        """Record a change, and wake the waiter."""
        self._changed[id_] = None
        self._wake()

    def end(self) -> None:
        """End the wait."""
        self.over = True
        self._wake()

    def revoke(self) -> None:
        """End the wait, because the caller's key was revoked."""
        self.revoked = True
        self.end()

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        self.end()
        self._forget(self)

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)


class Watched:
    """One message that somebody waits for. ``details`` counts those who want detail."""

    __slots__ = ("details", "polling", "snapshot", "subscriptions")

    def __init__(self) -> None:
        self.snapshot = NOTHING_KNOWN
        self.polling = False
        self.details = 0
        self.subscriptions: set[Subscription] = set()

    def begin_poll(self) -> None:
        """Mark the message as being polled."""
        self.polling = True

    def end_poll(self) -> None:
        """Clear that mark."""
        self.polling = False


class Subscriptions:
    """All who wait, by message.

    ``max_waiters``: messages that may be waited for, counted once for each who waits for them: a wait is 1, a stream of
    100 is 100. One caller has three quarters of it at most, so that no caller alone keeps the others out; who waits for
    nothing yet may always begin, with a stream longer than its share as well. ``held`` are those messages and
    ``refused`` those that had no room, both by the caller's label.
    """

    def __init__(self, clock: Clock, *, max_waiters: int) -> None:
        self._clock = clock
        self._max_waiters = max_waiters
        self._share = max_waiters * 3 // 4
        self._by_caller: Counter[str] = Counter()
        self.messages = 0
        self.held: Counter[str] = Counter()
        self.refused: Counter[tuple[str, Limit]] = Counter()
        self._ended = False
        self._watched: dict[int, Watched] = {}
        self._subscriptions: set[Subscription] = set()

    @property
    def waiters(self) -> int:
        """Callers that wait."""
        return len(self._subscriptions)

    def __len__(self) -> int:
        """Messages that somebody waits for."""
        return len(self._watched)

    def __iter__(self) -> Iterator[tuple[int, Watched]]:
        return iter(self._watched.items())

    def get(self, id_: int) -> Watched | None:
        """A message that somebody waits for."""
        return self._watched.get(id_)

    def callers(self, id_: int) -> Iterator[Caller]:
        """Who waits for a message; each as often as it waits."""
        watched = self._watched.get(id_)
        if watched is not None:
            for subscription in watched.subscriptions:
                yield subscription.caller

    def snapshot(self, id_: int) -> Snapshot:
        """What those who wait for a message know of it."""
        watched = self._watched.get(id_)
        return watched.snapshot if watched is not None else NOTHING_KNOWN

    def subscribe(self, ids: Iterable[int], detail: bool, caller: Caller = INTERNAL) -> Subscription:
        """Begin to wait. Raises Overloaded where too many messages are waited for already."""
        subscription = Subscription(ids, detail, caller, self._forget)
        limit = self._exceeded(caller, len(subscription.ids))
        if limit is not None:
            self.refused[caller.label, limit] += len(subscription.ids)
            raise Overloaded("too many messages are waited for", retry_after=1)
        subscription.over = self._ended
        self._subscriptions.add(subscription)
        self._count(caller, len(subscription.ids))
        for id_ in subscription.ids:
            watched = self._watched.get(id_)
            if watched is None:
                watched = self._watched[id_] = Watched()
            watched.subscriptions.add(subscription)
            watched.details += detail
        return subscription

    def on_update(self, id_: int, update: Update) -> None:
        """Store an answer for those who watch the message, and wake them if it is a change."""
        watched = self._watched.get(id_)
        if watched is None:
            return
        if isinstance(update, Cached):
            self._update(watched, id_, update.answer, update.replied_at, update.ttl)
        else:
            self._update(watched, id_, update, self._clock(), 0.0)

    def _update(self, watched: Watched, id_: int, answer: Answer, replied_at: float, ttl: float) -> None:
        # A slow neighbour in the same poll cycle does not hold up the next one for this id.
        watched.end_poll()
        before = watched.snapshot
        if isinstance(answer, MessageRecord | MessageNotFound):
            # The cache may have dropped a final state, or parts and price; those who wait have seen them.
            known = merge(answer, before.answer, in_order=True)
            watched.snapshot = Snapshot(known, replied_at, None, ttl=ttl)
            changed = not _same(known, before.answer)
        else:
            watched.snapshot = before._replace(failure=answer, failed_at=replied_at, ttl=ttl)
            # Where a state is known most failures change nothing for those who wait.
            matters = before.answer is None or answer.locks_out
            changed = matters and type(answer) is not type(before.failure)
        if changed:
            for subscription in watched.subscriptions:
                subscription.notify(id_)

    def learn(self, id_: int, answer: Answer, age: float, ttl: float, detail: bool) -> None:
        """Take what a lookup for those who wait brought, where nobody was told: cached answers, refusals to ask."""
        watched = self._watched.get(id_)
        if watched is None:
            return
        if not isinstance(answer, MessageRecord | MessageNotFound):
            self._update(watched, id_, answer, self._clock() - age, ttl)
        elif not watched.snapshot.serves(detail):
            known = merge(answer, watched.snapshot.answer, in_order=True)
            watched.snapshot = watched.snapshot._replace(answer=known, replied_at=self._clock() - age, ttl=ttl)

    def end(self) -> None:
        """End all waits, and those that still begin: the service stops."""
        self._ended = True
        for subscription in self._subscriptions:
            subscription.end()

    def revoke(self, may_ask: Callable[[Caller], bool]) -> None:
        """End the waits of callers who may no longer ask."""
        for subscription in self._subscriptions:
            if not may_ask(subscription.caller):
                subscription.revoke()

    def _exceeded(self, caller: Caller, messages: int) -> Limit | None:
        """The limit that leaves no room for so many messages more; None where there is room."""
        if self.messages and self.messages + messages > self._max_waiters:
            return "all"
        held = self._by_caller.get(caller.identity, 0)
        return "caller" if held and held + messages > self._share else None

    def _count(self, caller: Caller, messages: int) -> None:
        self.messages += messages
        self.held[caller.label] += messages
        self._by_caller[caller.identity] += messages
        if not self._by_caller[caller.identity]:
            del self._by_caller[caller.identity]

    def _forget(self, subscription: Subscription) -> None:
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        self._count(subscription.caller, -len(subscription.ids))
        for id_ in subscription.ids:
            watched = self._watched[id_]
            watched.subscriptions.remove(subscription)
            watched.details -= subscription.detail
            if not watched.subscriptions:
                del self._watched[id_]


def _same(new: Cacheable, old: Cacheable | None) -> bool:
    return new == old or (isinstance(new, MessageNotFound) and isinstance(old, MessageNotFound))
