"""The HTTP server: uvicorn, with an end that loses nothing and errors that are problem documents.

The end, in the order that Kubernetes uses: on SIGTERM ``/readyz`` is 503 at once, while connections and requests
are still answered, each with ``Connection: close``, and waits end early; when all is quiet, or ``SHUTDOWN_GRACE``
is over, what is left is answered with ``overloaded`` and the process exits with 0. A second SIGTERM, or SIGINT, skips
the waiting; any further one changes nothing. SIGHUP is like SIGTERM. Two seconds after the waiting the process ends,
whatever it waits for then.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.server.connections import Connections, most_connections
from app.server.protocol import HttpProtocol
from app.server.refusals import Limits
from app.server.signals import handled
from app.server.time_limit import ExitDeadline

QUIET_SECONDS = 2.0
"""How long idle connections may still bring a request while the process stops."""
FINAL_ANSWERS_SECONDS = 1.5
"""For the answers to what is left; more than ``Limits.linger_seconds``."""
CLOSING_SECONDS = 1.9
"""From the end of the waiting to that of the process. It includes those answers, and what has to be closed."""
PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""A caller whose machine is gone, or a network that forgot the connection, is noticed after two minutes."""
LOOK_SECONDS = 0.05
GC_ALLOCATIONS = 50_000

log = logging.getLogger(__name__)


class Server(uvicorn.Server):
    """Serves an application on bound sockets until a signal ends it.

    ``grace`` in seconds: how long requests in flight may take after SIGTERM. ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self, app: FastAPI, grace: float, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.all_connections = Connections(
            limits or Limits(),
            clock,
            app.state.service.metrics,
            lambda: self.server_state.connections,  # type: ignore[arg-type,return-value]  # all are of our protocol
        )
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                # Not a class, but called like one: uvicorn does nothing else with it.
                http=partial(HttpProtocol, all_connections=self.all_connections),  # type: ignore[arg-type]  # as said above
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=FINAL_ANSWERS_SECONDS,  # type: ignore[arg-type]  # wait_for takes fractions
            )
        )
        self._app = app
        self._grace = grace
        self._at_once = False
        self._time_limit: ExitDeadline | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, and looking at all connections."""
        for listener in sockets or []:
            _keep_alive(listener)
        await super().startup(sockets)
        # What is there now is there to stay. A request makes some hundred objects and no cycles; looking for cycles
        # every 700 objects cost a quarter of the CPU (docs/performance.md).
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_ALLOCATIONS, 20, 50)
        self.all_connections.allow(most_connections(self._app.state.service.settings.upstream_max_in_flight))
        self._sweeping = asyncio.create_task(self.all_connections.sweep_for_ever())

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals from now on, and to the end of the process: what follows the server is short."""
        self._time_limit = ExitDeadline()
        for number in handled():
            signal.signal(number, self.handle_exit)
        yield
        self._time_limit.at_most(CLOSING_SECONDS)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM or SIGHUP starts the drain; any further signal, and SIGINT from a terminal, ends it."""
        del frame
        self._at_once = self._at_once or self.should_exit or sig == signal.SIGINT
        self.should_exit = True
        if self._time_limit is not None:
            self._time_limit.at_most((0 if self._at_once else self._grace) + CLOSING_SECONDS)
        self._app.state.service.lifecycle.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, answer what is left, close."""
        self._app.state.service.end_waits()
        log.info("stopping: requests in flight have %g s", 0 if self._at_once else self._grace)
        await self._drain()
        await self._app.state.service.end_lookups()
        await super().shutdown(sockets)
        await self.stop_sweeping()
        log.info("stopped")

    async def stop_sweeping(self) -> None:
        """Look at no connection any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping

    async def _drain(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._grace
        last_busy = clock()
        while not self._at_once and clock() < end:
            if self.all_connections.any_busy():
                last_busy = clock()
            elif not self.server_state.connections or clock() - last_busy >= QUIET_SECONDS:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _keep_alive(listener: socket.socket) -> None:
    """Let the operating system find out about callers that are gone without a word; connections inherit it."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in PROBES.items():
        # Linux's names; elsewhere the system's own times hold.
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
