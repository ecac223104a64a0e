"""The store that replicas share: Redis or Valkey. Only this module and ``wire`` know redis-py.

Never worse than without it: a call has 50 ms, connecting happens beside the lookups, and a server in trouble is left
alone. Whatever goes wrong is a miss, a count and, where the condition changes, one line in the log.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from app.lookup.cache.condition import Condition, time_limit
from app.lookup.cache.lines import say_heard, say_told, say_used, say_written
from app.lookup.cache.protocol import Cached, Lifetimes
from app.lookup.cache.values import PUBLISH, READ, WRITE, Script, decode, encode
from app.lookup.cache.wire import close, kind, run, subscribed
from app.lookup.resilience import Clock

CALL_LIMIT = 0.05
"""Seconds that a lookup waits for Redis, at most."""
CONNECT_LIMIT = 1.0
"""Seconds for a connection, TLS and login included. Only the service's start waits for it."""
NEWS = "news"
"""The channel's name, after the prefix of the keys."""

Observe = Callable[[str, float, str], None]


class RedisStore:
    """One connection to a Redis that other replicas use as well.

    ``errors`` counts failures by kind: ``timeout``, ``connection``, ``authentication``, ``refused`` (an error reply),
    ``protocol``, and ``value`` for what is there but cannot be read. ``observe`` is called after each round trip with
    ``connect``, ``read``, ``write`` or ``publish``, its seconds, and ``ok`` or the kind of its failure; ``listen`` has
    its failures alone.
    """

    def __init__(self, url: str, prefix: str, platform_url: str, clock: Clock, lifetimes: Lifetimes) -> None:
        # The pool only reads the URL: one connection serves all, since its calls are gathered.
        self._pool = ConnectionPool.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=None,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        # Two platforms number their messages alike; a digest keeps them apart and the URL out of sight.
        self._keys = f"{prefix}:{hashlib.blake2b(platform_url.encode(), digest_size=6).hexdigest()}:"
        self._clock = clock
        self._lifetimes = lifetimes
        self._connection: AbstractConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._use = Condition(clock, say_used)
        self._writing = Condition(clock, say_written)
        self._telling = Condition(clock, say_told)
        self._hearing = Condition(clock, say_heard)
        # A server that refuses one of these (full, read-only, without the right) may still be read.
        self._refusable = {"write": self._writing, "publish": self._telling}
        self.errors: Counter[str] = Counter()
        self.observe: Observe = lambda _operation, _seconds, _outcome: None

    @property
    def usable(self) -> bool:
        """Whether there is a connection to a server that answers."""
        return self._connection is not None

    def ready(self) -> bool:
        """Whether it can be asked now. Where it cannot, it is looked for beside the lookups once it is time."""
        if self._connection is None and self._connecting is None and self._use.may_try():
            self._connecting = asyncio.get_running_loop().create_task(self.connect())
        return self.usable

    def writable(self) -> bool:
        """Whether it is worth while to write: a full or read-only server can still be read."""
        return (self.ready() or self._connecting is not None) and self._writing.may_try()

    async def connect(self) -> None:
        """Connect and see whether a read is answered in time. Never raises: what failed is tried again later."""
        started = self._clock()
        connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py left it without
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                await connection.connect()
            async with time_limit(CALL_LIMIT):
                await run(connection, READ, [f"{self._keys}0"], [])
        except Exception as error:
            await close(connection)
            # A refusal is clear; being late may be chance.
            self._use.failed(self._count("connect", started, error), at_once=kind(error) != "timeout")
        except asyncio.CancelledError:
            await close(connection)
            raise
        else:
            self._connection = connection
            self._use.worked()
            self.observe("connect", self._clock() - started, "ok")
        finally:
            self._connecting = None

    async def read(self, ids: Collection[int], limit: float) -> dict[int, Cached]:
        """What is there and still good; nothing where the reply does not come within ``limit`` seconds."""
        return self._decoded(ids, await self._call("read", READ, ids, [], limit))

    async def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached] | None:
        """Write answers, each for what is left of its lifetime.

        Returns what is there instead, where the server's rule (``protocol.settled``) kept more or something else;
        None where it failed.
        """
        if not self.ready() and self._connecting is not None:
            await asyncio.wait([self._connecting])
        now = self._clock()
        arguments: dict[int, tuple[bytes, bytes]] = {}
        for id_, cached in answers.items():
            lifetime = self._lifetimes.of(cached.answer)
            left_ms = int((lifetime - (now - cached.replied_at)) * 1000)
            if left_ms > 0:
                arguments[id_] = encode(cached.answer, int(lifetime * 1000)), str(left_ms).encode()
        if not arguments:
            return {}
        flat = [each for pair in arguments.values() for each in pair]
        reply = await self._call("write", WRITE, arguments, flat, CALL_LIMIT)
        return None if reply is None else self._decoded(arguments, reply)

    async def publish(self, news: Collection[bytes]) -> None:
        """Tell all replicas, this one included; lost where it fails."""
        if self._telling.may_try():
            await self._call("publish", PUBLISH, [NEWS], list(news), CALL_LIMIT)

    async def listen(self, take: Callable[[bytes], None]) -> None:
        """Pass on what replicas publish, for ever. Never raises: whatever fails is tried again."""
        while True:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no types here
            try:
                async with asyncio.timeout(CONNECT_LIMIT):
                    await connection.connect()
                async for news in subscribed(connection, f"{self._keys}{NEWS}", self._hearing.worked):
                    take(news)
            except Exception as error:
                why = self._count("listen", self._clock(), error)
                # A connection that is lost is lost for lookups as well, and told by them.
                if isinstance(error, exceptions.ResponseError):
                    self._hearing.failed(why, at_once=True)
            finally:
                await close(connection)
            await asyncio.sleep(Condition.PAUSE)

    def unreadable(self, operation: str) -> None:
        """Count a value or news that another version wrote, or somebody else."""
        self.errors["value"] += 1
        self.observe(operation, 0.0, "value")

    async def aclose(self) -> None:
        """Close what is open."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._drop()

    # --- one round trip ---

    async def _call(
        self, operation: str, script: Script, ids: Iterable[int | str], arguments: list[bytes], limit: float
    ) -> object:
        """The reply; None where there is none."""
        if not self.ready():
            return None
        started = self._clock()
        try:
            async with time_limit(limit), self._turn:
                if self._connection is None:
                    return None  # lost, and counted, by whoever had the turn before
                reply = await self._trip(self._connection, script, [f"{self._keys}{id_}" for id_ in ids], arguments)
        except Exception as error:  # whatever it is, it is Redis's failure and not a lookup's
            refused = isinstance(error, exceptions.ResponseError)
            condition = self._refusable.get(operation, self._use) if refused else self._use
            condition.failed(self._count(operation, started, error))
            if not self._use.good:
                await self._drop()
            self.ready()
            return None
        self._use.worked()
        if operation in self._refusable:
            self._refusable[operation].worked()
        self.observe(operation, self._clock() - started, "ok")
        return reply

    async def _trip(
        self, connection: AbstractConnection, script: Script, keys: list[str], arguments: list[bytes]
    ) -> object:
        try:
            try:
                return await run(connection, script, keys, arguments)
            except exceptions.ConnectionError:
                # Servers close connections that were idle for long: once more, on a new one.
                return await run(connection, script, keys, arguments)
        except exceptions.ResponseError:
            raise
        except BaseException:
            # A reply may still come, and would be taken for the answer to the next question.
            await self._drop()
            raise

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)

    def _count(self, operation: str, started: float, error: Exception) -> str:
        """Count a failure. Returns what the log may say of it: never its text, which is the server's."""
        outcome = kind(error)
        self.errors[outcome] += 1
        self.observe(operation, self._clock() - started, outcome)
        return f"{outcome}, {type(error).__name__}"

    def _decoded(self, ids: Iterable[int], reply: object) -> dict[int, Cached]:
        found: dict[int, Cached] = {}
        now = self._clock()
        for id_, each in zip(ids, reply if isinstance(reply, list) else (), strict=False):
            if each is None:
                continue
            try:
                cached = decode(id_, each, now, self._lifetimes)
            except ValueError:
                self.unreadable("read")
                continue
            if cached is not None:
                found[id_] = cached
        return found
