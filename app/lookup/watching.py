"""Who waits for news of which message, and the rounds in which the platform is asked for all of them.

News comes from everywhere: a round, another caller's lookup, the platform's webhook, another replica. The engine tells
``Watching.hear`` of the first three, by way of ``cache/news.py`` where replicas tell each other, and that of the last;
whoever waits for the id is woken where something changed.

Rounds come on a grid of ``PENDING_TTL`` that begins with the first who waits and ends with the last, so that ids which
different callers watch travel together. An id that was answered just before a round waits for the next one.
"""

import asyncio
import logging
import math
from collections.abc import Iterable
from contextvars import Context

from app.lookup.cache.protocol import Cacheable, Lifetimes, settled
from app.lookup.engine import Engine, Found
from app.lookup.failures import AboutOneMessage, AccountLocked, CredentialsRejected, MessageNotFound, Overloaded
from app.lookup.platform import Answer
from app.lookup.resilience import Clock
from app.lookup.states import MessageRecord
from app.lookup.subscription import NOTHING_KNOWN, Subscription, View

SHORTEST_ROUND = 0.1
"""Seconds. With ``PENDING_TTL=0`` nothing is kept, but the platform is not asked without pause."""
YOUNG = 0.05
"""An answer younger than this part of a round is good until the next one: then it is 105 % of a round old, which
keeps what everybody sees within ``PENDING_TTL`` + 200 ms."""

log = logging.getLogger(__name__)


class Watched:
    """One message that somebody waits for. ``details`` counts those who want detail."""

    __slots__ = ("asking", "details", "subscriptions", "view")

    def __init__(self) -> None:
        self.view = NOTHING_KNOWN
        self.asking = False
        self.details = 0
        self.subscriptions: set[Subscription] = set()


class Watching:
    """The hub between those who wait and the engine. ``max_waiters`` bounds the subscriptions.

    ``rounds`` counts the times that the platform was asked on behalf of those who wait.
    """

    def __init__(self, engine: Engine, clock: Clock, lifetimes: Lifetimes, *, max_waiters: int) -> None:
        self._engine = engine
        self._clock = clock
        self._lifetimes = lifetimes
        self._max_waiters = max_waiters
        self._seconds = max(lifetimes.pending, SHORTEST_ROUND)
        self._watched: dict[int, Watched] = {}
        self._subscriptions: set[Subscription] = set()
        self._next_round = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.rounds = 0
        engine.on_news = self.hear

    @property
    def waiters(self) -> int:
        """Callers that wait."""
        return len(self._subscriptions)

    @property
    def watched(self) -> int:
        """Messages that somebody waits for."""
        return len(self._watched)

    def view(self, id_: int) -> View:
        """What those who wait for a message know of it."""
        watched = self._watched.get(id_)
        return watched.view if watched is not None else NOTHING_KNOWN

    def subscribe(self, ids: Iterable[int], detail: bool) -> Subscription:
        """Begin to wait. Raises Overloaded where too many wait already."""
        if len(self._subscriptions) >= self._max_waiters:
            raise Overloaded("too many callers wait", retry_after=1)
        subscription = Subscription(ids, detail, self._forget)
        subscription.over = self._stopping
        self._subscriptions.add(subscription)
        for id_ in subscription.ids:
            watched = self._watched.get(id_)
            if watched is None:
                watched = self._watched[id_] = Watched()
            watched.subscriptions.add(subscription)
            watched.details += detail
        if self._timer is None and not self._stopping:
            self._next_round = self._clock() + self._seconds
            self._set_timer()
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        """The end of a wait. After the last one nothing is asked any more."""
        if subscription not in self._subscriptions:
            return
        self._subscriptions.remove(subscription)
        for id_ in subscription.ids:
            watched = self._watched[id_]
            watched.subscriptions.remove(subscription)
            watched.details -= subscription.detail
            if not watched.subscriptions:
                del self._watched[id_]
        if not self._watched:
            self._stop_timer()

    def hear(self, id_: int, answer: Answer, age: float = 0.0) -> None:
        """News of a message, from wherever. ``age``: of a failure that was kept, in seconds."""
        watched = self._watched.get(id_)
        if watched is None:
            return
        # A slow neighbour in the same round does not hold up the next one for this id.
        watched.asking = False
        before = watched.view
        if isinstance(answer, MessageRecord | MessageNotFound):
            # The cache may have dropped a final state, or parts and price; those who wait have seen them.
            known = settled(answer, before.answer)
            watched.view = View(known, self._clock(), None)
            changed = not _same(known, before.answer)
        else:
            watched.view = before._replace(failure=answer, failed_at=self._clock() - age)
            # Where a state is known most failures change nothing for those who wait.
            matters = before.answer is None or isinstance(answer, CredentialsRejected | AccountLocked)
            changed = matters and type(answer) is not type(before.failure)
        if changed:
            for subscription in watched.subscriptions:
                subscription.tell(id_)

    async def look_up(self, ids: Iterable[int], detail: bool, *, fresh: bool = False) -> dict[int, Found]:
        """Ask the engine, and take over what it tells nobody else: what was cached, and failures to ask at all."""
        found = await self._engine.lookup(ids, detail, fresh=fresh)
        for id_, each in found.items():
            watched = self._watched.get(id_)
            if watched is None:
                continue
            if not isinstance(each.answer, MessageRecord | MessageNotFound):
                self.hear(id_, each.answer, each.age)
            elif not watched.view.serves(detail):
                known = settled(each.answer, watched.view.answer)
                watched.view = View(known, self._clock() - each.age, watched.view.failure)
        return found

    async def complete(self, ids: Iterable[int], detail: bool) -> None:
        """Look up what is known without the detail that is wanted: the webhook brings none."""
        bare = [id_ for id_ in ids if self.view(id_).answer is not None and not self.view(id_).serves(detail)]
        if bare:
            await self.look_up(bare, detail)

    def age(self, view: View) -> float:
        """Seconds since the platform's reply."""
        return self._clock() - view.replied_at

    def stop(self) -> None:
        """End all waits, and those that still begin: the service stops."""
        self._stopping = True
        self._stop_timer()
        for subscription in self._subscriptions:
            subscription.end()

    async def aclose(self) -> None:
        """Stop, and leave nothing running."""
        self.stop()
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    # --- rounds ---

    def _set_timer(self) -> None:
        delay = max(self._next_round - self._clock(), 0.0)
        # In a context of its own: a round works for everybody, not for the request that happened to come first.
        self._timer = asyncio.get_running_loop().call_later(delay, self._round, context=Context())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _round(self) -> None:
        now = self._clock()
        due: dict[bool, list[int]] = {False: [], True: []}
        for id_, watched in self._watched.items():
            if not watched.asking and self._is_due(watched, now):
                watched.asking = True
                due[watched.details > 0].append(id_)
        # Both start in the same turn of the loop, so that they share requests.
        for detail, ids in due.items():
            if ids:
                task = asyncio.get_running_loop().create_task(self._ask(ids, detail))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        self.rounds += any(due.values())
        self._next_round += self._seconds * max(1, math.ceil((now - self._next_round) / self._seconds))
        self._set_timer()

    def _is_due(self, watched: Watched, now: float) -> bool:
        view = watched.view
        complete = view.serves(watched.details > 0)
        if view.settled and complete:
            return False
        if isinstance(view.failure, AboutOneMessage):
            # An error text of this message: asked again when the cache forgets it, like an unknown id.
            return now - view.failed_at > (self._rounds(view.failure) - 1 + YOUNG) * self._seconds
        rounds = 1
        if isinstance(view.answer, MessageRecord) and complete and view.failure is None:
            rounds = self._rounds(view.answer)
        return now - view.replied_at > (rounds - 1 + YOUNG) * self._seconds

    def _rounds(self, answer: Cacheable) -> int:
        return max(1, int(self._lifetimes.of(answer) / self._seconds))

    async def _ask(self, ids: list[int], detail: bool) -> None:
        try:
            # What is cached is about to expire.
            await self.look_up(ids, detail, fresh=True)
        except Exception:
            log.exception("a round for those who wait ended in a defect of this service")
        finally:
            for id_ in ids:
                watched = self._watched.get(id_)
                if watched is not None:
                    watched.asking = False


def _same(new: Cacheable, old: Cacheable | None) -> bool:
    return new == old or (isinstance(new, MessageNotFound) and isinstance(old, MessageNotFound))
