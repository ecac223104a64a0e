"""What the manifests say about each other: schemas, names, selectors, references."""

import json
from collections.abc import Iterator
from functools import cache

import kubernetes_validate  # type: ignore[import-untyped]  # it carries no types

from tests.support.manifests.reading import (
    Document,
    Documents,
    all_of,
    container,
    container_ports,
    deployment,
    names_of,
    pod,
    probes,
    template,
)

OLDEST_KUBERNETES = "1.30"
"""The first with preStop sleep, as docs/deployment.md says."""


CUSTOM = {("monitoring.coreos.com/v1", "PodMonitor")}
"""Kinds that an operator brings; Kubernetes has no schema for them."""


def check_schemas(documents: Documents) -> list[str]:
    """Every document is valid, strictly: in the oldest Kubernetes that is supported and in the newest known."""
    return [
        complaint
        for version in (OLDEST_KUBERNETES, kubernetes_validate.latest_version())
        for document in documents
        if (document["apiVersion"], document["kind"]) not in CUSTOM
        for complaint in _invalid(json.dumps(document), version)
    ]


@cache
def _invalid(text: str, version: str) -> list[str]:
    """What is wrong with one document; most are the same in every overlay, and validating one takes a while."""
    document = json.loads(text)
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{document['kind']} is invalid in {version}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{document['apiVersion']} has no {document['kind']} in {version}"]
    return []


def check_named_ports(documents: Documents) -> list[str]:
    """Every port that is called by its name is one of the container's, and no name stands for two."""
    names = [port["name"] for port in container(documents)["ports"]]
    used = [("the Service", port["targetPort"]) for port in _service_ports(documents)]
    used += [(f"the {name}", probe["port"]) for name, probe in probes(documents)]
    used += [
        ("the NetworkPolicy", port["port"])
        for policy in all_of(documents, "NetworkPolicy")
        for rule in policy["spec"]["ingress"]
        for port in rule["ports"]
    ]
    used += [
        ("the PodMonitor", endpoint.get("port"))
        for monitor in all_of(documents, "PodMonitor")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    ]
    complaints = [f"{who} means a port {name!r} that the container lacks" for who, name in used if name not in names]
    if len(names) != len(set(names)):
        complaints.append("two of the container's ports have one name")
    if not {port["targetPort"] for port in _service_ports(documents)} >= set(container_ports(documents)):
        complaints.append("the Service does not offer every port")
    return complaints


def _service_ports(documents: Documents) -> list[Document]:
    return [port for service in all_of(documents, "Service") for port in service["spec"]["ports"]]


def check_selectors(documents: Documents) -> list[str]:
    """Whatever selects pods selects these."""
    labels = template(documents)["metadata"]["labels"]
    return [f"{who} does not select the pods" for who, wanted in _selectors(documents) if not _matches(wanted, labels)]


def _matches(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(wanted) and wanted.items() <= labels.items()


def _selectors(documents: Documents) -> Iterator[tuple[str, dict[str, str]]]:
    yield "the Deployment", deployment(documents)["spec"]["selector"]["matchLabels"]
    for service in all_of(documents, "Service"):
        yield "the Service", service["spec"]["selector"]
    for budget in all_of(documents, "PodDisruptionBudget"):
        yield "the PodDisruptionBudget", budget["spec"]["selector"]["matchLabels"]
    for policy in all_of(documents, "NetworkPolicy"):
        yield "the NetworkPolicy", policy["spec"]["podSelector"]["matchLabels"]
    for monitor in all_of(documents, "PodMonitor"):
        yield "the PodMonitor", monitor["spec"]["selector"]["matchLabels"]
    for spread in pod(documents).get("topologySpreadConstraints", []):
        yield f"the spread over {spread['topologyKey']}", spread["labelSelector"]["matchLabels"]


def check_references(documents: Documents) -> list[str]:
    """Whatever is called by its name is there."""
    return [
        f"there is no {kind} {name!r}" for kind, name in _references(documents) if name not in names_of(documents, kind)
    ] + [
        f"the mount {mount['mountPath']} has no volume {mount['name']!r}"
        for mount in container(documents).get("volumeMounts", [])
        if mount["name"] not in {volume["name"] for volume in pod(documents).get("volumes", [])}
    ]


def _references(documents: Documents) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", pod(documents)["serviceAccountName"]
    for source in container(documents).get("envFrom", []):
        if "configMapRef" in source:
            yield "ConfigMap", source["configMapRef"]["name"]
    for scaler in all_of(documents, "HorizontalPodAutoscaler"):
        yield scaler["spec"]["scaleTargetRef"]["kind"], scaler["spec"]["scaleTargetRef"]["name"]
