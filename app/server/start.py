"""The start: settings, socket, server; every error in it is a readable line and exit status 2.

The settings are read before the rest of the service is loaded: some libraries fail on a wrong variable while they load.
"""

import atexit
import errno
import gc
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from app.settings.loading import SettingsError, load_settings
from app.settings.parsed import LOOPBACK_HOSTS
from app.telemetry.log_writer import LogWriter
from app.telemetry.logs import configure_logs
from app.telemetry.redaction import NotSecret
from app.telemetry.uncaught import log_what_is_uncaught

EXIT_BAD_START = 2
LISTENERS = 16
"""The same socket, listened to many times: uvloop accepts one connection a turn from each, and under load a turn is
long, so that new callers would wait for seconds behind those who are served."""

_ADDRESS = "an address of this machine"

log = logging.getLogger("app")


def main() -> None:
    """Serve until a signal ends it."""
    _open_standard_descriptors()
    output = LogWriter()
    atexit.register(output.flush)
    try:
        settings, secrets, warnings = load_settings()
        if settings.metrics_port == settings.port:
            # Two sockets that do not listen yet may share an address, so the second start would fail late.
            raise SettingsError(["METRICS_PORT: is the same as PORT; allowed: another one, or 0 for no metrics"])
        listener = bind(settings.host, settings.port)
        with _garbage_collection_paused():
            from app.main import create_app  # noqa: PLC0415 - not before the variables are known to be right
            from app.server.serving import Server  # noqa: PLC0415 - not before the variables are right
            from app.telemetry import tracing  # noqa: PLC0415 - not before the variables are right
        summary = configure_logs(settings.log_level, settings.log_format, secrets.seen, output)
        log_what_is_uncaught()
        app = create_app(settings, secrets=secrets, every_half_second=summary.flush, output=output)
        open_metrics(app.state.service.metrics.registry, settings.host, settings.metrics_port)
    except SettingsError as error:
        # Not print(): it would block where nobody reads.
        for line in error.lines:
            output.write(f"{line}\n")
        output.flush()
        sys.exit(EXIT_BAD_START)
    for line in settings.alarms():
        log.error("%s", NotSecret(line))
    for line in [*warnings, *tracing.warnings(os.environ)]:
        log.warning("%s", NotSecret(line))
    if settings.api_keys is not None:
        # So that a key put in wrongly is noticed before its caller is turned away.
        log.info("callers with a key: %s", NotSecret(", ".join(settings.api_keys.names)))
    log.info("effective settings", extra={"fields": {"settings": settings.shown()}})
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%s - browse http://%s:%s/docs", NotSecret(shown), port, NotSecret(shown), port)
    if settings.host in LOOPBACK_HOSTS:
        log.info("only this machine, or container, gets there: HOST is a loopback address")
    Server(app, settings.shutdown_grace).run(sockets=[listener, *(listener.dup() for _ in range(LISTENERS - 1))])
    output.report_losses()
    output.flush()


def _open_standard_descriptors() -> None:
    """Let no socket get the number of a standard stream that is closed: it would be sent the log."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """What a module makes is there to stay. Looking through all of it for garbage, again and again, while the next
    modules load takes a seventh of the start (docs/performance.md)."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def open_metrics(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serve the metrics unless the port is 0. Raises SettingsError with a readable line."""
    if port:
        listener = bind(host, port, "METRICS_PORT")
        try:
            from app.telemetry.metrics_port import serve_metrics  # noqa: PLC0415 - not before the variables are right

            serve_metrics(registry, listener)
        except OSError as error:
            listener.close()
            raise SettingsError([_cannot_listen("METRICS_PORT", host, port, error)]) from None


def bind(host: str, port: int, name: str = "PORT") -> socket.socket:
    """A bound socket. Raises SettingsError with a readable line, under the setting's ``name``, when the address cannot
    be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except UnicodeError:
        # What cannot even be put into a question to the name service: a label that is empty or too long.
        raise SettingsError([f"HOST: cannot listen on {host}:{port} (not a name); allowed: {_ADDRESS}"]) from None
    except OSError as error:
        raise SettingsError([_cannot_listen(name, host, port, error)]) from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingsError([_cannot_listen(name, host, port, error)]) from None
    return listener


def _cannot_listen(name: str, host: str, port: int, error: OSError) -> str:
    setting = "HOST" if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL else name
    why, allowed = error.strerror or str(error), "a port that is free on it"
    if setting == "HOST":
        allowed = _ADDRESS
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "this user has no right to ports below 1024" if port < 1024 else "this user has no right to it"
        allowed = "a port from 1024 on, or the capability CAP_NET_BIND_SERVICE"
    elif name == "METRICS_PORT" and error.errno == errno.EADDRINUSE:
        allowed = "a port that is free on it, or 0 for no metrics; each instance on a machine needs one of its own"
    return f"{setting}: cannot listen on {host}:{port} ({why}); allowed: {allowed}"
