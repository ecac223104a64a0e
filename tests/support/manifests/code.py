"""What the manifests say about the service, held against its code."""

from collections.abc import Iterator
from functools import cache
from typing import get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from app.main import create_app
from app.server.refusals import Limits
from app.settings import Settings
from app.upstream.body import MAX_REPLY_BYTES
from tests.support.manifests.reading import (
    Documents,
    container,
    container_ports,
    pod,
    probes,
    quantity,
    setting,
    template,
    variables,
)

GRACE_MARGIN_SECONDS = 5
"""For closing connections and leaving, after the last request."""
AT_REST_BYTES = 90 * 2**20
"""What the service promises to stay below when nobody asks."""
CACHE_ENTRY_BYTES = 400
"""One cached state, at most."""
WAITED_FOR_BYTES = 16_000
"""One message that is waited for, with its connection, where each wait has one (``make bench-waiters``). A message of a
stream takes a fortieth."""
PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def check_variables(documents: Documents) -> list[str]:
    """Every variable is a setting, with a value that the setting takes, and none of them is a secret."""
    given = {name.lower(): value for name, value in variables(documents).items()}
    complaints = [f"{name.upper()} is no setting" for name in given if name not in Settings.model_fields]
    known = {name: value for name, value in given.items() if name in Settings.model_fields}
    complaints += [
        f"{name.upper()} is a secret and must not be readable here"
        for name in known
        if is_secret(Settings.model_fields[name])
    ]
    try:
        Settings.for_sandbox(**{"upstream_token": "from a file"} | known)
    except ValidationError as error:
        complaints += [f"{each['loc'][0]} does not take this value: {each['msg']}" for each in error.errors()]
    return complaints


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is a secret, which may also be unset."""
    kinds = (field.annotation, *get_args(field.annotation))
    return any(isinstance(kind, type) and issubclass(kind, SecretStr) for kind in kinds)


def check_ports(documents: Documents) -> list[str]:
    """The container's ports, and the one that Prometheus is sent to, are those that the service listens on."""
    expected = {"http": int(setting(documents, "port")), "metrics": int(setting(documents, "metrics_port"))}
    complaints = []
    if container_ports(documents) != expected:
        complaints.append(f"the ports are {container_ports(documents)}, the service has {expected}")
    scraped = template(documents)["metadata"].get("annotations", {}).get("prometheus.io/port")
    if scraped != str(expected["metrics"]):
        complaints.append(f"Prometheus is sent to port {scraped}, the metrics are at {expected['metrics']}")
    return complaints


def check_probes(documents: Documents) -> list[str]:
    """There are three probes, each asks its own path on the public port, and the service has these paths."""
    paths = _paths()
    found = dict(probes(documents))
    complaints = [f"there is no {name}" for name in PROBES if name not in found]
    for name, probe in found.items():
        if probe["path"] not in paths:
            complaints.append(f"the {name} asks {probe['path']}, which the service does not have")
        if probe["path"] != PROBES[name]:
            complaints.append(f"the {name} asks {probe['path']} instead of {PROBES[name]}")
        port = container_ports(documents).get(probe["port"], probe["port"])
        if port != int(setting(documents, "port")):
            complaints.append(f"the {name} asks port {port}")
    return complaints


@cache
def _paths() -> set[str]:
    return set(create_app(Settings.for_sandbox()).openapi()["paths"])


def check_grace(documents: Documents) -> list[str]:
    """There is time for preStop, for the requests in flight, and to leave."""
    wait = container(documents).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    complaints = [] if wait else ["without a preStop sleep a pod is still sent requests after SIGTERM"]
    granted = pod(documents).get("terminationGracePeriodSeconds", 30)
    needed = wait + float(setting(documents, "shutdown_grace")) + GRACE_MARGIN_SECONDS
    if granted < needed:
        complaints.append(f"the grace period is {granted} s; preStop, SHUTDOWN_GRACE and a margin take {needed:g} s")
    return complaints


def check_resources(documents: Documents) -> list[str]:
    """CPU and memory are requested and limited, the one within the other, and the memory is enough."""
    resources = container(documents).get("resources", {})
    complaints = list(_disorder(resources))
    memory = quantity(resources.get("limits", {}).get("memory", 0))
    if quantity(resources.get("requests", {}).get("memory", 0)) < AT_REST_BYTES:
        complaints.append("the memory requested does not hold the service at rest")
    if memory < AT_REST_BYTES + CACHE_ENTRY_BYTES * int(setting(documents, "cache_max_entries")):
        complaints.append("the memory limit does not hold a full cache")
    if memory < sum(_needed(documents).values()):
        told = ", ".join(f"{bytes_ / 2**20:.0f} MiB {what}" for what, bytes_ in _needed(documents).items())
        complaints.append(f"the memory limit does not hold everything at once: {told}")
    if quantity(resources.get("limits", {}).get("cpu", 1)) < 1:
        complaints.append("less than one core throttles the only event loop")
    return complaints


def _needed(documents: Documents) -> dict[str, float]:
    """What each limit of the service lets it hold in memory, in bytes, all at the same time."""
    return {
        "at rest": AT_REST_BYTES,
        "of cached states": CACHE_ENTRY_BYTES * int(setting(documents, "cache_max_entries")),
        "of waits": WAITED_FOR_BYTES * int(setting(documents, "max_waiters")),
        "of unread input": Limits().input_bytes,
        "of replies": MAX_REPLY_BYTES * int(setting(documents, "upstream_max_in_flight")),
    }


def _disorder(resources: dict[str, dict[str, str]]) -> Iterator[str]:
    for kind in ("cpu", "memory"):
        bounds = [resources.get(side, {}).get(kind) for side in ("requests", "limits")]
        request, limit = bounds
        if request is None or limit is None:
            yield f"{kind} has no request or no limit"
        elif quantity(request) > quantity(limit):
            yield f"the {kind} requested ({request}) is above its limit ({limit})"
