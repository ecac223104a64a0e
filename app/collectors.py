"""What is read from the running service when somebody scrapes its metrics."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from app.lookup.cache.base import Cache
from app.lookup.cache.leases import Leases
from app.lookup.cache.memory import MemoryCache
from app.lookup.cache.two_levels import TwoLevelCache
from app.lookup.caller import ADDRESS_LABEL
from app.lookup.engine import Engine
from app.lookup.failures import LOCKOUTS, LookupFailure
from app.lookup.queue import Queue
from app.lookup.record import SMPP_WORDS, STATES
from app.lookup.subscriptions import Limit, Subscriptions
from app.lookup.waiter import Source
from app.lookup.watcher import Watcher
from app.telemetry import descriptors
from app.telemetry.log_writer import LogWriter
from app.telemetry.metrics import PREFIX
from app.upstream.client import UpstreamClient
from app.upstream.errors import lockout_wordings
from app.upstream.webhook_reader import WebhookReader
from app.upstream.wire import raw_word

RAW_WORDS = sorted({raw_word(word) for word in (*SMPP_WORDS, *STATES)})
WEBHOOK_RESULTS = ("taken", "unreadable")
CIRCUIT_STATES = ("closed", "open", "half-open")


def engine_metrics(
    engine: Engine, cache: MemoryCache, client: UpstreamClient, webhook: WebhookReader
) -> Callable[[], Iterable[Metric]]:
    """A reader of the engine's counts and states, for ``Metrics.read_at_scrape``."""
    return lambda: [
        *_lookups(engine),
        *_callers(engine.queue),
        *_policy(engine),
        *_cache(cache),
        *_unexpected(client, webhook),
    ]


def watcher_metrics(
    watcher: Watcher, cache: MemoryCache, leases: Leases | None, webhook: WebhookReader
) -> Callable[[], Iterable[Metric]]:
    """A reader of what those cost who wait, and of what the webhook brings."""

    def read() -> Iterable[Metric]:
        yield _gauge(
            "waiters", "Callers that wait for a change (long polls and event streams).", watcher.subscriptions.waiters
        )
        yield _gauge("watched_ids", "Ids that somebody waits for.", len(watcher.subscriptions))
        yield CounterMetricFamily(
            f"{PREFIX}_watch_rounds",
            "Poll cycles in which the platform was asked for those who wait.",
            value=watcher.cycles,
        )
        saved = {"ageing": cache.saved + watcher.saved, "leases": leases.saved if leases else 0}
        yield _counter("saved_entries", "Entries that did not have to be sent to the platform.", "by", saved)
        taken = {result: webhook.entries[result] for result in WEBHOOK_RESULTS}
        yield _counter("webhook_entries", "Entries of the platform's webhook, by what became of them.", "result", taken)

    return read


def shared_cache_metrics(cache: Cache) -> Callable[[], Iterable[Metric]]:
    """A reader of what a cache of two levels has had and has not; zeros for memory alone."""
    both = cache if isinstance(cache, TwoLevelCache) else None

    def read() -> Iterable[Metric]:
        levels = {level: both.hits[level] if both else 0 for level in ("memory", "shared")}
        yield _counter("cache_hits", "Ids that a level of the cache had, where it has two.", "level", levels)
        yield CounterMetricFamily(
            f"{PREFIX}_cache_misses",
            "Ids that neither level of the cache had, where it has two.",
            value=both.misses if both else 0,
        )
        yield CounterMetricFamily(
            f"{PREFIX}_cache_writes_dropped",
            "Answers that the shared cache was never sent, since it took none for too long.",
            value=both.dropped if both else 0,
        )

    return read


def log_metrics(output: LogWriter | None) -> Callable[[], Iterable[Metric]]:
    """A reader of what became of the log's lines; ``output`` is None where somebody else writes them."""

    def read() -> Iterable[Metric]:
        yield CounterMetricFamily(
            f"{PREFIX}_log_lines_lost",
            "Log lines that standard error did not take.",
            value=output.lost if output else 0,
        )
        yield _gauge(
            "log_stuck_seconds",
            "For how long the write of log lines under way has waited; 0 where there is none.",
            output.stuck_seconds if output else 0,
        )

    return read


def descriptor_metrics() -> Iterable[Metric]:
    """How many more files and connections the limit of open files allows; 0 where not even that can be read."""
    limit = descriptors.limit()
    if limit is not None:
        try:
            left = max(0, limit - descriptors.in_use())
        except OSError:
            left = 0
        yield _gauge("descriptors_left", "Files and connections that may still be opened.", left)


def caller_metrics(subscriptions: Subscriptions, rate_limited: Counter[str]) -> Callable[[], Iterable[Metric]]:
    """A reader of who waits for how much, and of who is refused by a limit of its own.

    ``rate_limited`` counts requests over ``RATE_LIMIT`` by the caller's label.
    """

    def read() -> Iterable[Metric]:
        held, refused, limited = dict(subscriptions.held), dict(subscriptions.refused), dict(rate_limited)
        labels = sorted({ADDRESS_LABEL, *held, *limited, *(label for label, _ in refused)})
        none = dict.fromkeys(labels, 0)
        yield _gauges("waited_messages", "Messages that a caller waits for, as MAX_WAITERS counts them.", none | held)
        family = CounterMetricFamily(
            f"{PREFIX}_refused_waits",
            "Messages that a caller could not wait for: MAX_WAITERS has no room for them, or the caller's share of it.",
            labels=["caller", "limit"],
        )
        for label in labels:
            for limit in get_args(Limit):
                family.add_metric([label, limit], refused.get((label, limit), 0))
        yield family
        yield _counter("rate_limited", "A caller's requests over RATE_LIMIT.", "caller", none | limited)

    return read


def _lookups(engine: Engine) -> Iterable[Metric]:
    yield _counter("lookups", "Ids looked up, by where the answer came from.", "source", _all(engine.lookups, Source))
    yield _counter("lookup_failures", "Ids answered with a problem, by its slug.", "problem", _problems(engine))
    yield _gauge("queued_ids", "Ids that callers wait for, and that wait for a request.", len(engine.queue))
    yield _gauge(
        "waiting_polls", "Ids to be polled for those who wait, once there is room.", engine.queue.waiting_polls
    )
    yield _gauge(
        "upstream_in_flight",
        "Requests to the platform in flight (at most UPSTREAM_MAX_IN_FLIGHT).",
        engine.dispatcher.in_flight,
    )
    yield _gauge(
        "batching_enabled",
        "1 while ids travel together, 0 while the platform was seen to answer arrays only in part.",
        engine.batching.enabled,
    )


def _callers(queue: Queue) -> Iterable[Metric]:
    waiting = queue.waiting()
    isolated = queue.isolation.isolated()
    spoiled = queue.isolation.spoiled_batches
    # The word for all addresses is always there, the name of a key since something is told of it.
    none = dict.fromkeys(sorted({ADDRESS_LABEL, *waiting, *isolated, *spoiled, *queue.refused}), 0)
    ids = {label: count for label, (count, _) in waiting.items()}
    seconds = {label: oldest for label, (_, oldest) in waiting.items()}
    yield _gauges("waiting_ids", "Ids that a caller waits for, and that wait for a request.", none | ids)
    yield _gauges("longest_wait_seconds", "How long the oldest of a caller's ids has waited.", none | seconds)
    yield _counter("refused_ids", "A caller's ids that found the queue full.", "caller", none | queue.refused)
    yield _counter("spoiled_batches", "Batches refused for a caller's ids.", "caller", none | spoiled)
    yield _gauges("isolated", "Callers whose ids share no request with those of others.", none | isolated)


def _policy(engine: Engine) -> Iterable[Metric]:
    policy = engine.policy
    retries = {"made": policy.retry_budget.taken, "refused": policy.retry_budget.refused}
    yield _counter("upstream_retries", "Retries, made or refused by the budget.", "decision", retries)
    breaker = GaugeMetricFamily(
        f"{PREFIX}_circuit_state", "1 for the present state of the circuit breaker.", labels=["state"]
    )
    for state in CIRCUIT_STATES:
        breaker.add_metric([state], float(policy.circuit_breaker.state == state))
    yield breaker
    held = policy.lockout.reason
    lockout = GaugeMetricFamily(
        f"{PREFIX}_latch_held",
        "1 while nothing is sent since the platform rejected the credentials.",
        labels=["reason"],
    )
    for kind in LOCKOUTS:
        lockout.add_metric([kind.slug], float(type(held) is kind))
    yield lockout
    lockouts = dict.fromkeys(lockout_wordings(), 0) | policy.lockout.held
    yield _counter(
        "lockouts", "Credential lockouts, by the wording, fragment or status that began them.", "wording", lockouts
    )


def _cache(cache: MemoryCache) -> Iterable[Metric]:
    yield _gauge("cache_entries", "Answers in the memory cache.", len(cache))
    yield CounterMetricFamily(
        f"{PREFIX}_cache_evictions", "Answers that had to make room before their time.", value=cache.evictions
    )


def _unexpected(client: UpstreamClient, webhook: WebhookReader) -> Iterable[Metric]:
    yield CounterMetricFamily(
        f"{PREFIX}_undocumented_states",
        "Answers with a state that the platform's documentation does not have.",
        value=client.undocumented_states,
    )
    yield _counter(
        "raw_words",
        "States that the platform named by another word than the documented one, by that word in capitals.",
        "word",
        dict.fromkeys(RAW_WORDS, 0) | client.raw_words + webhook.raw_words,
    )
    yield _counter(
        "unreadable_fields", "Fields of the platform's entries that could not be read.", "field", client.unreadable
    )


def _counter(name: str, meaning: str, label: str, values: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", meaning, labels=[label])
    for value, count in list(values.items()):
        family.add_metric([value], count)
    return family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, value=float(value))


def _gauges(name: str, meaning: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=["caller"])
    for caller, value in values.items():
        family.add_metric([caller], float(value))
    return family


def _all(counts: dict[Source, int], kinds: Iterable[Source]) -> dict[str, int]:
    """Also those that have not happened yet: a series that is missing cannot be alerted on."""
    return {kind.value: counts.get(kind, 0) for kind in kinds}


def _problems(engine: Engine) -> dict[str, int]:
    return dict.fromkeys(sorted(_slugs(LookupFailure)), 0) | engine.failures


def _slugs(kind: type[LookupFailure]) -> set[str]:
    """The slug of a kind of failure, and those of all kinds below it."""
    return {kind.slug}.union(*(_slugs(each) for each in kind.__subclasses__()))
