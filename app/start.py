"""The start: settings, socket, server; every mistake in it is a readable line and exit status 2."""

import errno
import logging
import socket
import sys

from prometheus_client import CollectorRegistry

from app.main import create_app
from app.server import Server
from app.settings_loading import SettingsError, load_settings
from app.telemetry import tracing
from app.telemetry.logs import configure_logs
from app.telemetry.metrics import serve_metrics

EXIT_BAD_START = 2
LISTENERS = 16
"""The same socket, listened to many times: uvloop accepts one connection a turn from each, and under load a turn is
long, so that new callers would wait for seconds behind those who are served."""

_ADDRESS = "an address of this machine"

log = logging.getLogger("app")


def main() -> None:
    """Serve until a signal ends it."""
    try:
        settings, secrets, warnings = load_settings()
        if tracing.wanted() and not tracing.available():
            raise SettingsError([f"{tracing.ENDPOINT_VARIABLES[0]}: traces need the extra `tracing`; allowed: unset"])
        if settings.metrics_port == settings.port:
            # Two sockets that do not listen yet may share an address, so the second start would fail late.
            raise SettingsError(["METRICS_PORT: is the same as PORT; allowed: another one, or 0 for no metrics"])
        listener = bind(settings.host, settings.port)
        summary = configure_logs(settings.log_level, settings.log_format, secrets.seen)
        app = create_app(settings, secrets=secrets, every_half_second=summary.flush)
        open_metrics(app.state.service.metrics.registry, settings.host, settings.metrics_port)
    except SettingsError as error:
        print(*error.lines, sep="\n", file=sys.stderr)  # noqa: T201 - the operator's terminal, not an event
        sys.exit(EXIT_BAD_START)
    for line in warnings:
        log.warning("%s", line)
    log.info("effective settings", extra={"fields": {"settings": settings.shown()}})
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%s - browse http://%s:%s/docs", shown, port, shown, port)
    Server(app, settings.shutdown_grace).run(sockets=[listener, *(listener.dup() for _ in range(LISTENERS - 1))])


def open_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve the metrics unless the port is 0. Raises SettingsError with a readable line."""
    if port:
        try:
            serve_metrics(registry, host, port)
        except OSError as error:
            raise SettingsError([_cannot_listen("METRICS_PORT", host, port, error)]) from None


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises SettingsError with a readable line when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except UnicodeError:
        # What cannot even be put into a question to the name service: a label that is empty or too long.
        raise SettingsError([f"HOST: cannot listen on {host}:{port} (not a name); allowed: {_ADDRESS}"]) from None
    except OSError as error:
        raise SettingsError([_cannot_listen("PORT", host, port, error)]) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingsError([_cannot_listen("PORT", host, port, error)]) from None
    return listener


def _cannot_listen(name: str, host: str, port: int, error: OSError) -> str:
    culprit = "HOST" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else name
    allowed = _ADDRESS if culprit == "HOST" else "a port that is free on it"
    return f"{culprit}: cannot listen on {host}:{port} ({error.strerror or error}); allowed: {allowed}"
