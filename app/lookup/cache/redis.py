"""The store that replicas share: Redis or Valkey. The only module that knows redis-py.

Never worse than without it: a call has 50 ms, connecting happens beside the lookups, and a server in trouble is left
alone. Whatever goes wrong is a miss, a count and, where the condition changes, one line in the log.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from app.lookup.cache.condition import Condition, time_limit
from app.lookup.cache.protocol import Cached, Lifetimes
from app.lookup.cache.values import READ, WRITE, Script, decode, encode
from app.lookup.resilience import Clock

CALL_LIMIT = 0.05
"""Seconds that a lookup waits for Redis, at most."""
CONNECT_LIMIT = 1.0
"""Seconds for a connection, TLS and login included. Only the service's start waits for it."""

Observe = Callable[[str, float, str], None]

log = logging.getLogger(__name__)


class RedisStore:
    """One connection to a Redis that other replicas use as well.

    ``errors`` counts failures by kind: ``timeout``, ``connection``, ``authentication``, ``refused`` (an error reply),
    ``protocol``, and ``value`` for what is there but cannot be read. ``observe`` is called after each round trip with
    ``connect``, ``read`` or ``write``, its seconds, and ``ok`` or the kind of its failure.
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
        self._use = Condition(clock, _say_used)
        self._writing = Condition(clock, _say_written)
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
                await _run(connection, READ, [f"{self._keys}0"], [])
        except Exception as error:
            await _close(connection)
            # A refusal is clear; being late may be chance.
            self._use.failed(self._count("connect", started, error), at_once=_kind(error) != "timeout")
        except asyncio.CancelledError:
            await _close(connection)
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

    async def aclose(self) -> None:
        """Close what is open."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._drop()

    # --- one round trip ---

    async def _call(
        self, operation: str, script: Script, ids: Iterable[int], arguments: list[bytes], limit: float
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
            # A server that refuses to write (full, read-only) may still be read.
            refused = operation == "write" and isinstance(error, exceptions.ResponseError)
            (self._writing if refused else self._use).failed(self._count(operation, started, error))
            if not self._use.good:
                await self._drop()
            self.ready()
            return None
        self._use.worked()
        if operation == "write":
            self._writing.worked()
        self.observe(operation, self._clock() - started, "ok")
        return reply

    async def _trip(
        self, connection: AbstractConnection, script: Script, keys: list[str], arguments: list[bytes]
    ) -> object:
        try:
            try:
                return await _run(connection, script, keys, arguments)
            except exceptions.ConnectionError:
                # Servers close connections that were idle for long: once more, on a new one.
                return await _run(connection, script, keys, arguments)
        except exceptions.ResponseError:
            raise
        except BaseException:
            # A reply may still come, and would be taken for the answer to the next question.
            await self._drop()
            raise

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await _close(connection)

    def _count(self, operation: str, started: float, error: Exception) -> str:
        """Count a failure. Returns what the log may say of it: never its text, which is the server's."""
        kind = _kind(error)
        self.errors[kind] += 1
        self.observe(operation, self._clock() - started, kind)
        return f"{kind}, {type(error).__name__}"

    def _decoded(self, ids: Iterable[int], reply: object) -> dict[int, Cached]:
        found: dict[int, Cached] = {}
        now = self._clock()
        for id_, each in zip(ids, reply if isinstance(reply, list) else (), strict=False):
            if each is None:
                continue
            try:
                cached = decode(id_, each, now, self._lifetimes)
            except ValueError:
                self.errors["value"] += 1
                continue
            if cached is not None:
                found[id_] = cached
        return found


def _kind(error: Exception) -> str:
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "timeout"
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return "authentication"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return "connection"
    return "refused" if isinstance(error, exceptions.ResponseError) else "protocol"


async def _run(connection: AbstractConnection, script: Script, keys: list[str], arguments: list[bytes]) -> Any:
    """Run a script; a server that does not know it yet is given its text. Connects where there is no connection."""
    rest = (len(keys), *keys, *arguments)
    try:
        await connection.send_command("EVALSHA", script.sha, *rest)
        return await connection.read_response()
    except exceptions.NoScriptError:
        await connection.send_command("EVAL", script.text, *rest)
        return await connection.read_response()


async def _close(connection: AbstractConnection) -> None:
    with contextlib.suppress(Exception):  # it is given up anyway
        await connection.disconnect(nowait=True)


def _say_used(good: bool, why: str) -> None:
    if good:
        log.info("Redis is used again")
    else:
        log.warning("Redis cannot be used: lookups go on with memory and the platform (%s)", why)


def _say_written(good: bool, why: str) -> None:
    if good:
        log.info("Redis takes writes again")
    else:
        log.warning("Redis takes no writes: replicas stop to share what is new (%s)", why)
