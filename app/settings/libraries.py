"""Variables that libraries read by themselves: a wrong one is a line like any other error, and not their traceback.

``docs/configuration.md`` says where each of them is heeded. To be asked before the libraries are loaded, since some
fail as soon as they are.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points


def wrong_library_variables(environment: Mapping[str, str], *, sandboxed: bool) -> list[str]:
    """A line for each such variable with a value that its library cannot use, free of values.

    ``sandboxed``: no platform is asked, so nobody needs its authorities.
    """
    return [
        *_propagators(environment),
        *([] if sandboxed else _authorities(environment)),
        *_metrics_folder(environment),
        *_span_batches(environment),
    ]


def _propagators(environment: Mapping[str, str]) -> Iterator[str]:
    value = environment.get("OTEL_PROPAGATORS")
    if value is None:
        return
    known = {"none", *(each.name for each in entry_points(group="opentelemetry_propagator"))}
    for position, entry in enumerate(value.split(","), start=1):
        if entry.strip() not in known and entry.strip().lower() != "none":
            yield f"OTEL_PROPAGATORS: entry {position} is not installed; allowed: {', '.join(sorted(known))}, or unset"


def _authorities(environment: Mapping[str, str]) -> Iterator[str]:
    file = environment.get("SSL_CERT_FILE")
    folder = environment.get("SSL_CERT_DIR")
    if file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
        except ssl.SSLError:
            yield f"SSL_CERT_FILE: {file} holds no certificate; allowed: a file of certificates in PEM, or unset"
        except OSError as error:
            yield f"SSL_CERT_FILE: {file} cannot be read ({error.strerror}); allowed: a file of certificates, or unset"
    elif folder and not os.path.isdir(folder):
        yield f"SSL_CERT_DIR: {folder} is no folder; allowed: a folder of certificates, or unset"


def _metrics_folder(environment: Mapping[str, str]) -> Iterator[str]:
    for name in ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"):
        folder = environment.get(name)
        if folder is not None and not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
            yield f"{name}: is not a folder that this user may write to; allowed: unset, which is right for one process"


def _span_batches(environment: Mapping[str, str]) -> Iterator[str]:
    """The traces' library takes its default for what is no number, and logs a traceback."""
    for name in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        value = environment.get(f"OTEL_BSP_{name}")
        if value is not None and not (value.strip().isdecimal() and int(value) > 0):
            yield f"OTEL_BSP_{name}: is not a whole number from 1 on; allowed: such a number, or unset"
