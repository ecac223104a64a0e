"""The store that replicas share: Redis or Valkey. Only this module knows redis-py.

Never worse than without it: a call has 50 ms, connecting happens beside the lookups, and a server in trouble is left
alone. Whatever goes wrong is a miss, a count and, where its health changes, one line in the log.

A server that says that it is not the primary is left at once, with all connections, and the address is resolved anew.
An address that leads elsewhere while the old server still answers is noticed when connections are renewed.
"""

import asyncio
import contextlib
import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from app.lookup.cache.redis_values import LEASE, PUBLISH, READ, RELEASE, WRITE, Script, decode, encode, encode_seen
from app.lookup.cache.store_health import Health, time_limit
from app.lookup.clock import Clock
from app.lookup.lifetimes import Cached, Lifetimes

CALL_LIMIT = 0.05
"""Seconds for one call other than a read; reads get theirs from ``two_levels.READ_LIMIT``."""
CONNECT_LIMIT = 1.0
"""Seconds for a connection, TLS and login included. The start and background writes wait for it, never lookups."""
SILENCE = 15.0
"""Seconds without an update after which the server is asked whether it is still there, and which it has to answer in.
Nobody tells of a connection that a firewall has forgotten."""
CONNECTION_LIFE = 60.0
"""Seconds after which connections are renewed, beside the lookups, so that a name that leads elsewhere is noticed."""
CHANNEL = "news"
"""The channel's name, after the prefix of the keys; replicas of version 0.1 use it too."""

NOT_PRIMARY = (exceptions.ReadOnlyError, exceptions.BusyLoadingError, exceptions.MasterDownError)
NOT_PRIMARY_TEXT = re.compile(r"(?:^|-)(?:READONLY|LOADING|MASTERDOWN|NOREPLICAS) ")
"""Error replies of a server that was the primary, or is to become it. Before 7.0 what a script met with stands behind
words of the server's own."""

Observe = Callable[[str, float, str], None]


class RedisStore:
    """A Redis that other replicas use as well.

    ``errors`` counts failures by kind: ``timeout``, ``connection``, ``authentication``, ``refused`` (an error reply),
    ``protocol``, and ``value`` for what is there but cannot be read. ``observe`` is called after each round trip with
    ``connect``, ``read``, ``write``, ``lease`` or ``publish``, its seconds, and ``ok`` or the kind of its failure;
    ``listen`` has its failures alone.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        platform_url: str,
        clock: Clock,
        lifetimes: Lifetimes,
        *,
        observe: Observe = lambda _operation, _seconds, _outcome: None,
    ) -> None:
        self._url = url
        self._client = self._new_client()
        self._subscription: asyncio.Task[None] | None = None
        self._left_at = self._renew_at = -math.inf
        self._connected = asyncio.Event()
        # Two platforms number their messages alike; a digest keeps them apart and the URL out of sight.
        self._keys = f"{prefix}:{hashlib.blake2b(platform_url.encode(), digest_size=6).hexdigest()}:"
        self._clock = clock
        self._lifetimes = lifetimes
        self._observe = observe
        self._connecting: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._use = Health(
            clock,
            lost="Redis cannot be used: lookups go on with the memory cache and the platform",
            found="Redis is used again",
        )
        self._listening = Health(
            clock,
            lost="Redis refuses the subscription: callers that wait here learn of changes from the platform alone",
            found="Redis accepts the subscription again",
        )
        # A server that refuses one of these (full, read-only, without the right) may still be read.
        self._refusable = {
            "write": Health(
                clock,
                lost="Redis rejects writes: replicas no longer share new results",
                found="Redis accepts writes again",
            ),
            "publish": Health(
                clock,
                lost="Redis rejects updates: callers that wait on other replicas learn changes from the platform alone",
                found="Redis accepts updates again",
            ),
            "lease": Health(
                clock,
                lost="Redis rejects leases: each replica asks the platform for all that is watched on it",
                found="Redis accepts leases again",
            ),
        }
        self.usable = False
        self.errors: Counter[str] = Counter()

    def ready(self) -> bool:
        """Whether it can be asked now. Starts to connect in the background where that is due."""
        due = self._clock() >= self._renew_at if self.usable else self._use.may_try()
        if due and self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self.connect())
        return self.usable

    def writable(self) -> bool:
        """Whether it is worth while to write: a full or read-only server can still be read."""
        return (self.ready() or self._connecting is not None) and self._refusable["write"].may_try()

    async def connect(self) -> None:
        """Connect and see whether a read is answered in time. Never raises: what failed is tried again later.

        A connection that is in use is used on until the new one works.
        """
        started = self._clock()
        self._renew_at = started + CONNECTION_LIFE
        client = self._new_client()
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                await client.initialize()
                connection: Any = client.connection  # there is one from now on, without types
                await connection.connect()
                connection.register_connect_callback(self._on_new_connection)
            async with time_limit(CALL_LIMIT):
                await _run(client, READ, [f"{self._keys}0"], [])
            async with self._lock:
                client, self._client = self._client, client
                self.usable = True
        except Exception as error:
            # A refusal is clear; being late may be chance.
            self._use.failed(self._count("connect", started, error), at_once=_kind(error) != "timeout")
        else:
            self._use.worked()
            self._observe("connect", self._clock() - started, "ok")
            self._connected.set()
            self._on_new_connection()
        finally:
            self._connecting = None
            await _close(client)

    async def read(self, ids: Collection[int], limit: float) -> dict[int, Cached]:
        """What is there, perhaps no longer good; nothing where the reply does not come within ``limit`` seconds."""
        return self._decoded(ids, await self._call("read", READ, ids, [], limit))

    async def write(self, answers: Mapping[int, Cached]) -> dict[int, Cached] | None:
        """Write answers, each for what is left of the time in which it is remembered.

        Returns what is there instead, where the server's rule (``record.merge``) kept more or something else;
        None where it failed.
        """
        if not self.ready() and self._connecting is not None:
            await asyncio.wait([self._connecting])
        now = self._clock()
        arguments: dict[int, tuple[bytes, bytes, bytes]] = {}
        for id_, cached in answers.items():
            kept = cached.kept
            left_ms = int((kept - (now - cached.replied_at)) * 1000)
            if left_ms > 0:
                lasted_ms = int((cached.replied_at - cached.since) * 1000)
                # Without growth nobody needs to know it.
                seen = encode_seen(cached.answer, lasted_ms) if kept > cached.ttl else b""
                arguments[id_] = encode(cached.answer, int(kept * 1000)), str(left_ms).encode(), seen
        if not arguments:
            return {}
        flat = [each for triple in arguments.values() for each in triple]
        reply = await self._call("write", WRITE, arguments, flat, CALL_LIMIT)
        return None if reply is None else self._decoded(arguments, reply)

    async def lease(self, holder: str, seconds: Mapping[int, float]) -> tuple[dict[int, Cached], set[int]] | None:
        """Take or renew leases for so many seconds each, by the server's clock.

        Returns what is there, perhaps no longer good, and the ids whose lease is the holder's; None where it failed.
        """
        if not self._refusable["lease"].may_try():
            return None
        arguments = [holder.encode(), *(b"%d" % max(1, each * 1000) for each in seconds.values())]
        reply = await self._call("lease", LEASE, seconds, arguments, CALL_LIMIT)
        if not isinstance(reply, list) or not all(isinstance(each, bytes) and each for each in reply):
            return None
        mine = {id_ for id_, each in zip(seconds, reply, strict=False) if each[:1] == b"+"}
        return self._decoded(seconds, [each[1:] or None for each in reply]), mine

    async def release(self, holder: str, ids: Collection[int]) -> None:
        """End leases of this holder; where it fails they run out."""
        if self._refusable["lease"].may_try():
            await self._call("lease", RELEASE, ids, [holder.encode()], CALL_LIMIT)

    async def publish(self, updates: Collection[bytes]) -> None:
        """Send updates to all replicas, this one included; lost where it fails."""
        if self._refusable["publish"].may_try():
            await self._call("publish", PUBLISH, [CHANNEL], list(updates), CALL_LIMIT)

    async def listen(self, receive: Callable[[bytes], None]) -> None:
        """Pass on what replicas publish, until it is cancelled. Never raises: whatever fails is tried again."""
        while True:
            self._subscription = asyncio.get_running_loop().create_task(self._subscribe(receive))
            try:
                await asyncio.wait([self._subscription])
            finally:
                self._subscription.cancel()
            # Cancelled by ourselves: there is a new connection, perhaps to another server.
            error = None if self._subscription.cancelled() else self._subscription.exception()
            if isinstance(error, Exception):
                why = self._count("listen", self._clock(), error)
                # A connection that is lost is lost for lookups as well, and logged by them.
                if isinstance(error, exceptions.ResponseError):
                    self._listening.failed(why, at_once=True)
                self._connected.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(Health.PAUSE):
                        await self._connected.wait()

    def unreadable(self, operation: str) -> None:
        """Count a value or an update that another version wrote, or somebody else."""
        self.errors["value"] += 1
        self._observe(operation, 0.0, "value")

    async def aclose(self) -> None:
        """Close what is open."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        await self._drop()

    # --- one round trip ---

    def _new_client(self) -> Redis:
        # One connection serves all calls, since they are gathered; another one is the subscription's.
        return Redis.from_url(
            self._url,
            protocol=2,
            single_connection_client=True,
            # Servers close connections that were idle for long: once more, on a new one.
            retry=Retry(NoBackoff(), 1),
            socket_timeout=None,
            socket_connect_timeout=None,
            driver_info=None,
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )

    async def _call(
        self, operation: str, script: Script, ids: Iterable[int | str], arguments: list[bytes], limit: float
    ) -> object:
        """The reply; None where there is none."""
        if not self.ready():
            return None
        started = self._clock()
        try:
            async with time_limit(limit), self._lock:
                if not self.usable:
                    return None  # lost, and counted, by whoever had the turn before
                try:
                    reply = await _run(self._client, script, [f"{self._keys}{id_}" for id_ in ids], arguments)
                except exceptions.ResponseError:
                    raise
                except BaseException:
                    # A reply may still come, and would be taken for the answer to the next question.
                    await self._drop()
                    raise
        except Exception as error:  # whatever it is, it is Redis's failure and not a lookup's
            why = self._count(operation, started, error)
            refused = isinstance(error, exceptions.ResponseError)
            health = self._refusable.get(operation, self._use) if refused else self._use
            leaves = self._may_lead_elsewhere(error)
            # The next attempt goes to whatever the address leads to, and need not wait.
            if health.good or not leaves:
                health.failed(why)
            if leaves or not self._use.good:
                await self._drop()
            self.ready()
            return None
        self._use.worked()
        if operation in self._refusable:
            self._refusable[operation].worked()
        self._observe(operation, self._clock() - started, "ok")
        return reply

    def _on_new_connection(self, _connection: object = None) -> None:
        """Subscribe anew: it may lead to another server.

        redis-py makes one by itself where the server has closed the old one, or says LOADING.
        """
        if self._subscription is not None:
            self._subscription.cancel()

    def _may_lead_elsewhere(self, error: Exception) -> bool:
        """Whether a new connection may lead to the primary. The next one is tried after a while."""
        not_primary = isinstance(error, NOT_PRIMARY) or NOT_PRIMARY_TEXT.search(str(error)) is not None
        if not not_primary or self._clock() - self._left_at < Health.PAUSE:
            return False
        self._left_at = self._clock()
        return True

    async def _subscribe(self, receive: Callable[[bytes], None]) -> None:
        client = self._new_client()
        try:
            async with client.pubsub() as subscription:
                async with asyncio.timeout(CONNECT_LIMIT):
                    await subscription.subscribe(f"{self._keys}{CHANNEL}")
                if (await self._next_message(subscription))["type"] != "subscribe":
                    raise exceptions.InvalidResponse("not what a subscriber receives")
                self._listening.worked()
                while True:
                    message = await self._next_message(subscription)
                    if message["type"] == "message":
                        receive(message["data"])
        finally:
            await _close(client)

    async def _next_message(self, subscription: PubSub) -> dict[str, Any]:
        message: dict[str, Any] | None = await subscription.get_message(timeout=SILENCE)
        if message is None:
            await subscription.ping()
            message = await subscription.get_message(timeout=SILENCE)
        if message is None:
            raise TimeoutError
        return message

    async def _drop(self) -> None:
        """Let go of the connection, whatever its condition."""
        self.usable = False
        await _close(self._client)

    def _count(self, operation: str, started: float, error: Exception) -> str:
        """Count a failure. Returns what the log may say of it: never its text, which is the server's."""
        outcome = _kind(error)
        self.errors[outcome] += 1
        self._observe(operation, self._clock() - started, outcome)
        return f"{outcome}, {type(error).__name__}"

    def _decoded(self, ids: Iterable[int], reply: object) -> dict[int, Cached]:
        found: dict[int, Cached] = {}
        now = self._clock()
        for id_, each in zip(ids, reply if isinstance(reply, list) else (), strict=False):
            if each is None:
                continue
            try:
                received = decode(id_, each)
            except ValueError:
                self.unreadable("read")
                continue
            if received is not None:
                replied_at = now - received.age
                first_seen = self._lifetimes.first_seen(received.answer, replied_at, now)
                since = first_seen if received.lasted is None else replied_at - received.lasted
                found[id_] = self._lifetimes.cached(received.answer, replied_at, since)
        return found


async def _run(client: Redis, script: Script, keys: list[str], arguments: list[bytes]) -> Any:
    """Run a script; a server that does not know it yet is given its text."""
    try:
        return await client.evalsha(script.sha, len(keys), *keys, *arguments)
    except exceptions.NoScriptError:
        return await client.eval(script.text, len(keys), *keys, *arguments)


async def _close(client: Redis) -> None:
    """Let go of a client. What it still has to send is not waited for: the server may hang."""
    with contextlib.suppress(Exception):  # it is given up anyway
        if client.connection is not None:
            await client.connection.disconnect(nowait=True)
        await client.aclose()


def _kind(error: Exception) -> str:
    """The kind of a failure."""
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        return "timeout"
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return "authentication"
    if isinstance(error, exceptions.ConnectionError | OSError):
        return "connection"
    return "refused" if isinstance(error, exceptions.ResponseError) else "protocol"
