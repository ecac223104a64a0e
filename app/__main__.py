"""``python -m app``: settings, socket, server; every mistake in a start is a readable line and exit status 2."""

import logging
import socket
import sys

import uvicorn

from app.main import create_app, credentials_of
from app.settings import Settings, SettingsError, load_settings
from app.telemetry.logs import configure_logs

EXIT_BAD_START = 2
KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s of common ingresses, so that they and not we close an idle connection."""

log = logging.getLogger("app")


def main() -> None:
    """Serve until a signal ends it."""
    try:
        settings, warnings = load_settings()
        listener = bind(settings.host, settings.port)
    except SettingsError as error:
        print(*error.lines, sep="\n", file=sys.stderr)  # noqa: T201 - there is no log before there are settings
        sys.exit(EXIT_BAD_START)
    secrets = credentials_of(settings).secrets
    configure_logs(settings.log_level, settings.log_format, lambda: secrets)
    for line in warnings:
        log.warning("%s", line)
    serve(settings, listener)


def bind(host: str, port: int) -> socket.socket:
    """A bound socket. Raises SettingsError with a readable line when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        name = "HOST" if isinstance(error, socket.gaierror) else "PORT"
        raise SettingsError([f"{name}: cannot listen on {host}:{port} ({error.strerror or error})"]) from None
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Run the server on a bound socket until a signal ends it."""
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%s - browse http://%s:%s/docs", shown, port, shown, port)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
