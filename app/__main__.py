"""``python -m app``: settings, socket, server; every mistake in a start is a readable line and exit status 2."""

import logging
import socket
import sys

from app.main import create_app
from app.server import Server
from app.settings_loading import SettingsError, load_settings
from app.telemetry.logs import configure_logs

EXIT_BAD_START = 2

log = logging.getLogger("app")


def main() -> None:
    """Serve until a signal ends it."""
    try:
        settings, secrets, warnings = load_settings()
        listener = bind(settings.host, settings.port, "PORT")
    except SettingsError as error:
        print(*error.lines, sep="\n", file=sys.stderr)  # noqa: T201 - there is no log before there are settings
        sys.exit(EXIT_BAD_START)
    configure_logs(settings.log_level, settings.log_format, secrets.seen)
    for line in warnings:
        log.warning("%s", line)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%s - browse http://%s:%s/docs", shown, port, shown, port)
    Server(create_app(settings, secrets=secrets), settings.shutdown_grace).run(sockets=[listener])


def bind(host: str, port: int, name: str) -> socket.socket:
    """A bound socket. Raises SettingsError with a readable line when the address cannot be had.

    ``name`` is the setting that the port comes from.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        culprit = "HOST" if isinstance(error, socket.gaierror) else name
        allowed = "an address of this machine" if culprit == "HOST" else "a port that is free on it"
        raise SettingsError(
            [f"{culprit}: cannot listen on {host}:{port} ({error.strerror or error}); allowed: {allowed}"]
        ) from None
    return listener


if __name__ == "__main__":
    main()
