"""Everything that lives as long as the process: built in one place, opened and closed in one place.

A second account or a second platform is a second ``Service``.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import __version__
from app.api.access import Quotas
from app.api.health import Lifecycle
from app.collectors import (
    caller_metrics,
    descriptor_metrics,
    engine_metrics,
    log_metrics,
    shared_cache_metrics,
    watcher_metrics,
)
from app.lookup.cache.base import Cache
from app.lookup.cache.broadcast import Broadcast
from app.lookup.cache.leases import Leases
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.caller import Caller
from app.lookup.clock import Clock
from app.lookup.engine import Engine
from app.lookup.lifetimes import Lifetimes
from app.lookup.policy import CredentialLockout
from app.lookup.subscriptions import Subscriptions
from app.lookup.watcher import Watcher
from app.settings import Settings
from app.settings.rotation import LOOK_SECONDS, Secrets
from app.telemetry.log_writer import LogWriter
from app.telemetry.metrics import Metrics
from app.upstream import sandbox
from app.upstream.client import UpstreamClient
from app.upstream.credentials import Account, Credentials
from app.upstream.errors import clean_message
from app.upstream.transport import Transport, in_process
from app.upstream.webhook_reader import WebhookReader

if TYPE_CHECKING:  # redis-py is an extra
    from app.lookup.cache.redis import RedisStore

SAMPLE_SECONDS = 0.5
"""Between two samples of the event loop's delay."""


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running service. ``run`` opens what has to be opened; nothing else does."""

    settings: Settings
    secrets: Secrets
    lifecycle: Lifecycle
    metrics: Metrics
    quotas: Quotas | None
    account: Account
    client: UpstreamClient
    cache: Cache
    store: "RedisStore | None"
    broadcast: Broadcast | None
    engine: Engine
    leases: Leases | None
    watcher: Watcher
    read_webhook: WebhookReader
    every_half_second: Callable[[], None]
    output: LogWriter | None
    jitter: Callable[[float, float], float]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Open everything, and close it in reverse, also after half a start."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.client.aclose)
            stack.push_async_callback(self.cache.aclose)
            if self.store is not None:
                await self.store.connect()
            stack.push_async_callback(self.engine.aclose)
            stack.push_async_callback(self.watcher.aclose)
            if self.broadcast is not None:
                self.broadcast.start()
                stack.push_async_callback(self.broadcast.aclose)
            for task in (self._rotate_secrets(), self._sample_loop_delay()):
                stack.push_async_callback(_cancel, asyncio.create_task(task))
            self.lifecycle.start()
            yield
            self.lifecycle.stop()

    def end_waits(self) -> None:
        """The drain begins: whoever waits for a change is answered now."""
        self.watcher.stop()

    async def end_lookups(self) -> None:
        """The drain ends: whoever still waits for the platform is answered now, and whoever still asks."""
        await self.engine.aclose()

    def refresh_secrets(self) -> None:
        """Read secret files anew, and put what has changed into force."""
        changed = self.secrets.refresh()
        if "api_keys" in changed:
            self.watcher.subscriptions.revoke(self._may_ask)
        if changed:
            self.account.reload()
        if any(name.startswith("upstream_") for name in changed):
            self.engine.credentials_changed()

    def _may_ask(self, caller: Caller) -> bool:
        """Whether the key that a caller has shown is in force."""
        keys = self.secrets.api_keys
        return keys is None or keys.has(caller.key)

    async def _rotate_secrets(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.refresh_secrets()

    async def _sample_loop_delay(self) -> None:
        """How late the event loop wakes us tells how busy it is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self.metrics.loop_delay(max(0.0, loop.time() - due))
            self.every_half_second()
            if self.output is not None:
                self.output.report_losses()


def build_service(
    settings: Settings,
    *,
    secrets: Secrets | None = None,
    transport: Transport | None = None,
    clock: Clock = time.monotonic,
    wall_clock: Clock = time.time,
    every_half_second: Callable[[], None] = lambda: None,
    jitter: Callable[[float, float], float] = random.uniform,
    output: LogWriter | None = None,
) -> Service:
    """The service for these settings; nothing is opened yet.

    ``secrets``: those in force, by default those of the settings. ``transport``: replaces the network to the platform.
    ``clock``: monotonic seconds. ``wall_clock``: seconds since 1970. ``every_half_second``: called every 0.5 s while
    the service runs. ``jitter(low, high)``: a random number between the two. ``output``: the writer of the log, whose
    losses are counted and logged.
    """
    secrets = secrets or Secrets(settings)
    metrics = Metrics(__version__)
    account = Account(lambda: _credentials(settings, secrets))
    lifetimes = Lifetimes(
        pending=settings.pending_ttl,
        delivered=settings.delivered_ttl,
        final=settings.final_ttl,
        not_found=settings.not_found_ttl,
        pending_max=settings.pending_ttl_max,
        delivered_max=settings.delivered_ttl_max,
        wall_clock=wall_clock,
    )

    client = _client(settings, account, transport, clock)
    subscriptions = Subscriptions(clock, max_waiters=settings.max_waiters)
    memory = MemoryCache(clock, lifetimes, max_entries=settings.cache_max_entries)
    store = _store(settings, clock, lifetimes, metrics)
    cache = memory if store is None else TwoLevelCache(memory, store)
    broadcast = None if store is None else Broadcast(store, memory, clock, lifetimes, subscriptions.on_update)

    def renew_credentials() -> bool:
        """Read the secret files now, since the platform rejects the credentials. Returns whether they have changed."""
        renewed = bool(secrets.refresh("upstream_", at_once=True))
        if renewed:
            account.reload()
        return renewed

    engine = Engine(
        client,
        cache,
        clock,
        lifetimes,
        batch_size=settings.upstream_batch_size,
        max_in_flight=settings.upstream_max_in_flight,
        attempt_timeout=settings.upstream_attempt_timeout,
        deadline=settings.request_deadline,
        max_queued=settings.max_queued_ids,
        longest_lockout=sandbox.LOCKOUT_SECONDS if settings.sandboxed else CredentialLockout.LONGEST,
        on_update=subscriptions.on_update if broadcast is None else broadcast.publish,
        on_request=metrics.upstream_request,
        renew_credentials=renew_credentials,
        watching=subscriptions.callers,
        jitter=jitter,
    )
    quotas = Quotas(clock, settings.rate_limit) if settings.rate_limit else None
    leases = None if store is None else Leases(store, memory)
    watcher = Watcher(engine, subscriptions, clock, lifetimes, leases)
    read_webhook = WebhookReader(
        settings.upstream_timezone,
        lambda word: clean_message(word, account.credentials.secrets),
    )
    metrics.read_at_scrape(log_metrics(output))
    metrics.read_at_scrape(descriptor_metrics)
    metrics.read_at_scrape(engine_metrics(engine, memory, client, read_webhook))
    metrics.read_at_scrape(shared_cache_metrics(cache))
    metrics.read_at_scrape(watcher_metrics(watcher, memory, leases, read_webhook))
    metrics.read_at_scrape(caller_metrics(subscriptions, Counter() if quotas is None else quotas.refused))
    return Service(
        settings=settings,
        secrets=secrets,
        lifecycle=Lifecycle(),
        metrics=metrics,
        quotas=quotas,
        account=account,
        client=client,
        cache=cache,
        store=store,
        broadcast=broadcast,
        engine=engine,
        leases=leases,
        watcher=watcher,
        read_webhook=read_webhook,
        every_half_second=every_half_second,
        output=output,
        jitter=jitter,
    )


def _credentials(settings: Settings, secrets: Secrets) -> Credentials:
    """What the secrets say about the account; the sandbox needs nothing but its own."""
    token, login, password = map(secrets.get, ("upstream_token", "upstream_login", "upstream_password"))
    # The platform knows all of them, also where the token is sent in place of login and password.
    known = tuple(filter(None, (login, password, secrets.get("webhook_token"))))
    if settings.sandboxed:
        return Credentials({"token": sandbox.TOKEN}, known)
    return Credentials.choose(token, login, password, known)


def _client(
    settings: Settings,
    account: Account,
    transport: Transport | None,
    clock: Clock,
) -> UpstreamClient:
    if settings.sandboxed and transport is None:
        transport = in_process(sandbox.Sandbox())
    return UpstreamClient(
        sandbox.URL if settings.sandboxed else settings.upstream_url,
        account,
        settings.upstream_timezone,
        connect_timeout=settings.upstream_connect_timeout,
        attempt_timeout=settings.upstream_attempt_timeout,
        transport=transport,
        clock=clock,
    )


def _store(settings: Settings, clock: Clock, lifetimes: Lifetimes, metrics: Metrics) -> "RedisStore | None":
    """The store that replicas share, where the settings name one."""
    url = settings.cache_url.shared
    if url is None:
        return None
    from app.lookup.cache.redis import RedisStore  # noqa: PLC0415 - redis-py is an extra

    return RedisStore(
        url, settings.cache_prefix, settings.upstream_url, clock, lifetimes, observe=metrics.cache_request
    )


async def _cancel(task: asyncio.Task[None]) -> None:
    """End a task of the background and wait until it is gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
