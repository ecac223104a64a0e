"""What all connections share: the limits, the memory for input that waits, and the sweep that ends what takes too long.

One look at every connection each second costs less than a timer for each of them, which every request would set and
cancel.
"""

import array
import asyncio
import fcntl
import logging
import socket
import termios
from collections import Counter
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Protocol

from app.server.refusals import Limits
from app.telemetry import descriptors
from app.telemetry.metrics import Closed, Metrics, Phase

READ_BYTES = 256 * 1024
"""What one read from a socket brings at most: uvloop's and asyncio's buffers have this size."""
LAST_READS = 18
"""Reads that may still come when the last room is used up: a new connection is read from before it can be paused, and
each of the 16 listeners of the start accepts one in an iteration of the event loop."""
SMALL_READ_BYTES = 4096
"""Input that is read although there is no room: a request like most of them."""
ROOM_SECONDS = 0.05
"""Between two looks for small input while there is no room."""

RESERVED_DESCRIPTORS = 48
"""For scrapes of the metrics, Redis, name servers, a collector of traces, and files of secrets that are read anew."""
FEWEST_CONNECTIONS = 8
"""Connections that callers may have whatever the limit is."""
PHASES: tuple[Phase, ...] = ("idle", "reading", "reading", "answering", "closing", "closing")
"""What the protocol's states are called in the metrics, in their order."""
FEW_AGAIN = 0.9
"""Share of the connections allowed below which the next time that there are too many is told anew."""

_phase = attrgetter("phase")

log = logging.getLogger(__name__)


def most_connections(to_platform: int) -> int | None:
    """How many callers may be connected, asked before any is; None where there is no limit. Logs that it is too low.

    ``to_platform``: the connections that the platform may need.
    """
    soft = descriptors.limit()
    if soft is None:
        return None
    others = descriptors.in_use() + to_platform + RESERVED_DESCRIPTORS
    if soft < others + FEWEST_CONNECTIONS:
        log.error(
            "too many open files: the limit of %d leaves no room for %d callers beside the platform, Redis and the "
            "metrics; raise it to %d or more (ulimit -n)",
            soft,
            FEWEST_CONNECTIONS,
            others + FEWEST_CONNECTIONS,
        )
    return max(FEWEST_CONNECTIONS, soft - others)


def bytes_waiting(connection: socket.socket) -> int:
    """Input that the operating system holds for a connection; 0 where it was closed."""
    size = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.FIONREAD, size)
    except (OSError, ValueError):
        return 0
    return size[0]


class Connection(Protocol):
    """What is asked of each connection."""

    unread: int
    """Bytes of input that are read and not answered yet."""
    since: float
    """When it came to its present state, by the clock of all connections."""

    @property
    def is_busy(self) -> bool:
        """Whether a request is there whose answer is not."""

    def check(self, now: float) -> None:
        """End what takes too long."""

    def pause_for_room(self) -> None:
        """Read nothing more until ``resume_with_room``."""

    def resume_with_room(self) -> None:
        """Read again."""

    def waiting_bytes(self) -> int:
        """Input that the operating system holds for this connection."""

    def stuck_since(self) -> float | None:
        """Since when the input of this connection has waited without progress; None where it moves."""

    def drop_input(self) -> None:
        """Answer that there is no room for this input, and forget it."""

    @property
    def phase(self) -> Phase:
        """What the connection is doing."""

    def end(self, limit: Closed) -> None:
        """End it, without words."""


class Connections:
    """The connections of one server. ``open`` is the server's own collection of them, ``clock`` is monotonic."""

    def __init__(
        self, limits: Limits, clock: Callable[[], float], metrics: Metrics, open_: Callable[[], Collection[Connection]]
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.full = False
        self._metrics = metrics
        self._open = open_
        self._unread = 0
        # Room for reads that are under way when the limit is reached, and for small ones until there is room again.
        self._full_at = min(limits.input_bytes * 3 // 4, limits.input_bytes - 2 * READ_BYTES)
        self._room_at = self._full_at * 2 // 3
        self._most = limits.input_bytes - min(LAST_READS * READ_BYTES, limits.input_bytes // 8)
        self._looking: asyncio.Task[None] | None = None
        self._most_connections: int | None = None
        self._is_crowded = False

    def allow(self, most: int | None) -> None:
        """From now on at most so many connections are open at a time; None for any number."""
        self._most_connections = most

    def made(self, connection: Connection, connections: Collection[Connection]) -> bool:
        """A connection is there, one of ``connections`` now. Returns whether it may stay.

        Where there are too many, the one that has been idle for longest leaves; where none is idle, the new one.
        """
        most = self._most_connections
        if most is None or len(connections) <= most:
            return True
        if not self._is_crowded:
            self._is_crowded = True
            log.error(
                "too many open files: %d connections are as many as the limit of %d allows; raise it (ulimit -n), or "
                "limit connections before they get here",
                most,
                descriptors.limit(),
            )
        idle = (each for each in connections if each.phase == "idle" and each is not connection)
        leaves = min(idle, key=lambda each: each.since, default=connection)
        leaves.end("descriptors")
        return leaves is not connection

    @property
    def unread(self) -> int:
        """Bytes of input that are read and not answered yet."""
        return self._unread

    @property
    def is_overfull(self) -> bool:
        """Whether there is no room even for small input, and so none for new connections."""
        return self._unread >= self._most

    def any_busy(self) -> bool:
        """Whether any request is there whose answer is not; an incomplete one is none."""
        return any(connection.is_busy for connection in self._open())

    def closed(self, reason: Closed) -> None:
        """A connection was closed by a limit."""
        self._metrics.http_connection_closed(reason)

    def add_unread(self, size: int) -> None:
        """Count input that waits; a negative size where it waits no longer."""
        self._unread += size
        if self.full:
            if self._unread <= self._room_at:
                self._open_up()
        elif self._unread >= self._full_at:
            self._shut()

    async def sweep_for_ever(self) -> None:
        """Look at all connections again and again."""
        while True:
            await asyncio.sleep(self.limits.sweep_seconds)
            self.sweep()

    def sweep(self) -> None:
        """Look at all connections once."""
        now = self.clock()
        connections = list(self._open())
        for connection in connections:
            try:
                connection.check(now)
            except Exception:
                log.exception("unhandled error while checking the time limits of a connection")
        if self.full:
            self._drop_stuck(connections, now)
        if self._is_crowded and len(connections) < (self._most_connections or 0) * FEW_AGAIN:
            self._is_crowded = False
            log.info("there are descriptors for new connections again")
        self._metrics.http_connections(Counter(map(_phase, connections)), self._unread)

    def _shut(self) -> None:
        """No room: let all callers wait, those with small requests for a moment only."""
        self.full = True
        for connection in list(self._open()):
            connection.pause_for_room()
        self._looking = asyncio.get_running_loop().create_task(self._look_for_small_input())

    def _open_up(self) -> None:
        self.full = False
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        for connection in list(self._open()):
            connection.resume_with_room()

    async def _look_for_small_input(self) -> None:
        """Nobody is to wait for those who sent much, so a small request is read even now, as long as it fits at all."""
        while True:
            await asyncio.sleep(ROOM_SECONDS)
            for connection in list(self._open()):
                if self.is_overfull:
                    break
                if not connection.unread and 0 < connection.waiting_bytes() <= SMALL_READ_BYTES:
                    connection.resume_with_room()

    def _drop_stuck(self, connections: Collection[Connection], now: float) -> None:
        """Make room: the input of those who keep the most of it and do not get on with it."""
        stuck = [each for each in connections if each.unread and self._is_stuck(each, now)]
        for connection in sorted(stuck, key=lambda each: each.unread, reverse=True):
            if not self.full:
                return
            connection.drop_input()

    def _is_stuck(self, connection: Connection, now: float) -> bool:
        since = connection.stuck_since()
        return since is not None and now - since >= self.limits.stuck_seconds
