"""Polls the platform for those who wait.

Poll cycles come on a grid of ``PENDING_TTL`` that begins with the first who waits and ends after the last, so that ids
which different callers watch travel together. An id that was answered just before a cycle waits for the next one; one
whose state has lasted sits out the cycles in which its answer is still good.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Coroutine, Iterable
from contextvars import Context

from app.lookup.cache.leases import Due, Leases
from app.lookup.caller import INTERNAL, POLLS, Caller
from app.lookup.clock import Clock
from app.lookup.engine import Engine, LookupResult
from app.lookup.failures import AboutOneMessage
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import Cacheable
from app.lookup.subscriptions import Snapshot, Subscription, Subscriptions, Watched
from app.lookup.waiter import Source

SHORTEST_CYCLE = 0.1
"""Seconds. With ``PENDING_TTL=0`` nothing is kept, but the platform is not asked without pause."""
YOUNG = 0.05
"""An answer younger than this part of a cycle is good until the next one: then it is at most 105 % of a cycle old."""
FIRST_ANSWER = 0.5
"""Seconds in which the first answer to a message may come from the replica that asks for it, before this one asks."""

_PUBLISHED = (Source.UPSTREAM, Source.JOINED)

log = logging.getLogger(__name__)


class Watcher:
    """Keeps what is known of watched messages fresh.

    ``cycles`` counts poll cycles in which something was due; ``saved`` entries that would have been sent if
    lifetimes did not grow. With ``leases`` one of the replicas that watch an id asks for it.
    """

    def __init__(
        self,
        engine: Engine,
        subscriptions: Subscriptions,
        clock: Clock,
        lifetimes: Lifetimes,
        leases: Leases | None = None,
    ) -> None:
        self._engine = engine
        self.subscriptions = subscriptions
        self._clock = clock
        self._lifetimes = lifetimes
        self._leases = leases
        self._seconds = max(lifetimes.pending, SHORTEST_CYCLE)
        self._next_cycle = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._polls: set[asyncio.Task[None]] = set()
        self._releases: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.cycles = 0
        self.saved = 0

    def subscribe(self, ids: Iterable[int], detail: bool, caller: Caller = INTERNAL) -> Subscription:
        """Begin to wait. Raises Overloaded where too many wait already."""
        subscription = self.subscriptions.subscribe(ids, detail, caller)
        if self._timer is None and not self._stopping:
            self._next_cycle = self._clock() + self._seconds
            self._set_timer()
        return subscription

    def snapshot(self, id_: int) -> Snapshot:
        """What those who wait for a message know of it."""
        return self.subscriptions.snapshot(id_)

    def age(self, snapshot: Snapshot) -> float:
        """Seconds since the platform's reply."""
        return self._clock() - snapshot.replied_at

    async def look_up(
        self, ids: Iterable[int], detail: bool, *, fresh: bool = False, caller: Caller = INTERNAL
    ) -> dict[int, LookupResult]:
        """Ask the engine for a caller that waits, or for all of them (``POLLS``). What it brings is learned at once."""

        def learn(id_: int, result: LookupResult) -> None:
            # What the platform's reply told, all who wait were told of.
            if not (result.source in _PUBLISHED and isinstance(result.answer, Cacheable)):
                self.subscriptions.learn(id_, result.answer, result.age, result.ttl, detail)

        return await self._engine.lookup(ids, detail, fresh=fresh, caller=caller, on_result=learn)

    async def begin(self, subscription: Subscription, *, fresh: bool = False) -> dict[int, LookupResult]:
        """What a wait begins with. Where a message is watched on several replicas from the same moment on, one asks."""
        leases = self._leases
        if leases is not None and not fresh:
            await self._await_others(subscription, leases)
        results = await self.look_up(subscription.ids, subscription.detail, fresh=fresh, caller=subscription.caller)
        await self._let_others_try(results)
        return results

    async def complete(self, subscription: Subscription, ids: Iterable[int]) -> None:
        """Look up what is known without the detail that is wanted: the webhook brings none."""
        detail = subscription.detail
        snapshots = {id_: self.snapshot(id_) for id_ in ids}
        bare = [id_ for id_, known in snapshots.items() if known.answer is not None and not known.serves(detail)]
        if bare:
            await self.look_up(bare, detail, caller=subscription.caller)

    def stop(self) -> None:
        """End all waits, and those that still begin: the service stops."""
        self._stopping = True
        self._stop_timer()
        self.subscriptions.end()
        self._release()

    async def aclose(self) -> None:
        """Stop, and leave nothing running."""
        self.stop()
        for task in self._polls:
            task.cancel()
        await asyncio.gather(*self._polls, *self._releases, return_exceptions=True)

    # --- poll cycles ---

    def _set_timer(self) -> None:
        delay = max(self._next_cycle - self._clock(), 0.0)
        # In a context of its own: a cycle works for everybody, not for the request that happened to come first.
        self._timer = asyncio.get_running_loop().call_later(delay, self._cycle, context=Context())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cycle(self) -> None:
        self._timer = None
        self._release()
        if not self.subscriptions:
            return
        now = self._clock()
        due: dict[int, bool] = {}
        asked: set[int] = set()  # in a cycle before, and not answered yet
        for id_, watched in self.subscriptions:
            if watched.polling:
                asked.add(id_)
            elif self._is_due(watched, now):
                watched.begin_poll()
                due[id_] = watched.details > 0
        if self._leases is None:
            self._ask(due)
        else:
            if due:
                self._start(self._poll(due, self._leases), self._polls)
            if asked:
                self._start(self._leases.renew(asked, self._seconds), self._polls)
        self.cycles += bool(due)
        self._next_cycle += self._seconds * max(1, math.ceil((now - self._next_cycle) / self._seconds))
        self._set_timer()

    def _start(self, work: Coroutine[None, None, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _release(self) -> None:
        """Let other replicas ask for what nobody watches here any more."""
        if self._leases is None:
            return
        unwatched = {id_ for id_ in self._leases.held if self._stopping or self.subscriptions.get(id_) is None}
        if unwatched:
            self._start(self._leases.release(unwatched), self._releases)

    def _is_due(self, watched: Watched, now: float) -> bool:
        known = watched.snapshot
        complete = known.serves(watched.details > 0)
        if known.settled and complete:
            return False
        asked_at, ttl, shortest = known.replied_at, 0.0, 0.0
        if isinstance(known.failure, AboutOneMessage):
            # An error text of this message: asked again when the cache forgets it, like an unknown id.
            asked_at, ttl, shortest = known.failed_at, known.ttl, self._lifetimes.of(known.failure)
        elif known.answer is not None and complete and known.failure is None:
            ttl, shortest = known.ttl, self._lifetimes.of(known.answer)
        passed = (now - asked_at) / self._seconds - YOUNG
        if passed > self._cycles(ttl) - 1:
            return True
        self.saved += passed > 0 and math.ceil(passed) % self._cycles(shortest) == 0
        return False

    def _cycles(self, ttl: float) -> int:
        """After how many poll cycles an answer is asked for again."""
        return max(1, int(ttl / self._seconds))

    async def _poll(self, due: dict[int, bool], leases: Leases) -> None:
        try:
            mine, others = await self._divide(due, leases)
            self._ask(mine)
            if others:
                # Once more half a cycle later: whoever asks for them may have stopped to.
                await asyncio.sleep(self._seconds / 2)
                mine, _ = await self._divide(others, leases)
                self._ask(mine)
                for id_ in others.keys() - mine.keys():
                    self._end_poll(id_)
        except Exception:
            log.exception("unhandled error in a poll cycle")
            for id_ in due:
                self._end_poll(id_)

    def _ask(self, ids: dict[int, bool]) -> None:
        """Ask the platform, with or without detail."""
        # Both start in the same iteration of the event loop, so that they share requests.
        for detail in (False, True):
            alike = [id_ for id_, wanted in ids.items() if wanted is detail]
            if alike:
                self._start(self._ask_alike(alike, detail), self._polls)

    async def _ask_alike(self, ids: list[int], detail: bool) -> None:
        try:
            # What is cached is about to expire.
            results = await self.look_up(ids, detail, fresh=True, caller=POLLS)
            await self._let_others_try(results)
        except Exception:
            log.exception("unhandled error in a poll cycle")
        finally:
            for id_ in ids:
                self._end_poll(id_)

    def _end_poll(self, id_: int) -> None:
        watched = self.subscriptions.get(id_)
        if watched is not None:
            watched.end_poll()

    # --- what other replicas ask for ---

    async def _await_others(self, subscription: Subscription, leases: Leases) -> None:
        """Wait a moment for what another replica is asking the platform at present, for the first time."""
        elsewhere = await leases.asked_elsewhere(subscription.ids, self._seconds)
        missing = set(elsewhere)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_ANSWER):
                while missing and not subscription.over:
                    await subscription.changes(FIRST_ANSWER)
                    missing = {id_ for id_ in missing if not leases.knows(id_)}
        leases.saved += len(elsewhere) - len(missing)

    async def _let_others_try(self, results: dict[int, LookupResult]) -> None:
        """Give leases back where the platform gave no answer: another replica may get one."""
        if self._leases is not None:
            failed = [id_ for id_, each in results.items() if not isinstance(each.answer, Cacheable)]
            await self._leases.release(failed)

    async def _divide(self, due: dict[int, bool], leases: Leases) -> tuple[dict[int, bool], dict[int, bool]]:
        """Take leases and what other replicas have learned. Returns what is to be asked here, and what by others."""
        wanted = {id_: self._due(id_, detail) for id_, detail in due.items() if self.subscriptions.get(id_) is not None}
        known, leased = await leases.take(wanted)
        now = self._clock()
        mine: dict[int, bool] = {}
        others: dict[int, bool] = {}
        for id_, each in wanted.items():
            # An update may have come meanwhile, and is as good as what is in the store.
            known_at = max(self._asked_at(id_), known[id_].replied_at if id_ in known else -math.inf)
            # The ages of one reply, as two replicas compute them, differ a little.
            is_newer = known_at > each.asked_at + YOUNG * self._seconds
            young = now - known_at <= YOUNG * self._seconds
            lacks_detail = due[id_] and not self.snapshot(id_).serves(detail=True)
            if is_newer and id_ in known and known[id_].replied_at == known_at:
                self.subscriptions.on_update(id_, known[id_])
            if is_newer and not lacks_detail and (young or id_ not in leased):
                leases.saved += 1
                self._end_poll(id_)
            elif id_ in leased or lacks_detail or now - each.asked_at >= 2 * each.ttl + (0.5 + YOUNG) * self._seconds:
                mine[id_] = due[id_]
            else:
                others[id_] = due[id_]
        return mine, others

    def _due(self, id_: int, detail: bool) -> Due:
        known = self.snapshot(id_)
        kept = known.serves(detail) and (known.failure is None or isinstance(known.failure, AboutOneMessage))
        return Due(self._asked_at(id_), max(self._cycles(known.ttl if kept else 0.0) * self._seconds, self._seconds))

    def _asked_at(self, id_: int) -> float:
        known = self.snapshot(id_)
        return known.failed_at if isinstance(known.failure, AboutOneMessage) else known.replied_at
