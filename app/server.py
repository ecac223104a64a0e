"""The HTTP server: uvicorn, with an end that loses nothing and errors that are problem documents.

The end, in the order that Kubernetes uses: on SIGTERM ``/readyz`` is 503 at once, while connections and requests
are still answered, each with ``Connection: close``, and waits end early; when all is quiet, or ``SHUTDOWN_GRACE``
is over, what is left is answered with ``overloaded`` and the process exits with 0. A second SIGTERM, or SIGINT, skips
the waiting.
"""

import asyncio
import gc
import logging
import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.middleware import SECURITY_HEADERS, new_request_id
from app.api.problems import problem

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s of common ingresses, so that they and not we close an idle connection."""
QUIET_SECONDS = 2.0
"""How long idle connections may still bring a request while the process stops."""
LAST_WORDS_SECONDS = 1
"""For the answers to what is left."""
LOOK_SECONDS = 0.05
GC_ALLOCATIONS = 50_000

log = logging.getLogger(__name__)


class ProblemProtocol(HttpToolsProtocol):
    """Answers bytes that are no HTTP request with a problem document, like every other mistake."""

    def send_400_response(self, msg: str) -> None:
        """Answer and close; ``msg`` is uvicorn's own text."""
        request_id = new_request_id()
        scope = {"path": "/", "state": {"request_id": request_id}}
        response = problem(scope, "invalid-request", errors=[{"pointer": "", "detail": msg}])
        lines = [f"HTTP/1.1 {response.status_code} Unprocessable Content", "connection: close"]
        lines += [f"{name.decode()}: {value.decode()}" for name, value in (*response.raw_headers, *SECURITY_HEADERS)]
        lines += [f"x-request-id: {request_id}", "", ""]
        self.transport.write("\r\n".join(lines).encode() + bytes(response.body))
        self.transport.close()


class Server(uvicorn.Server):
    """Serves an application on a bound socket until a signal ends it. ``grace`` in seconds."""

    def __init__(self, app: FastAPI, grace: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=ProblemProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=LAST_WORDS_SECONDS,
            )
        )
        self._app = app
        self._grace = grace
        self._at_once = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell the garbage collector that what is there now is there to stay."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # A request makes some hundred objects and no cycles; looking for cycles every 700 objects cost a quarter
        # of the CPU (docs/performance.md).
        gc.set_threshold(GC_ALLOCATIONS, 20, 50)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM starts the drain; any further signal, and SIGINT from a terminal, ends it."""
        del frame
        self._at_once = self._at_once or self.should_exit or sig == signal.SIGINT
        self.should_exit = True
        self._app.state.service.lifecycle.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, answer what is left, close."""
        self._app.state.service.watcher.stop()
        log.info("stopping: requests in flight have %g s", 0 if self._at_once else self._grace)
        await self._drain()
        await self._app.state.service.engine.aclose()
        await super().shutdown(sockets)
        log.info("stopped")

    async def _drain(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._grace
        last_busy = clock()
        while not self._at_once and clock() < end:
            if self.server_state.tasks:
                last_busy = clock()
            elif not self.server_state.connections or clock() - last_busy >= QUIET_SECONDS:
                return
            await asyncio.sleep(LOOK_SECONDS)
