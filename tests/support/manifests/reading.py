"""Render an overlay, and find one's way in what comes out."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from app.settings import Settings
from app.settings.parsed import SANDBOX_URL

Document = dict[str, Any]
Documents = list[Document]

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "deploy" / "kubernetes"


def tool(name: str) -> str:
    """A program that the development dependencies bring."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing: is requirements-dev.lock installed?"
    return found


def render(folder: Path) -> Documents:
    """The documents that `kubectl apply -k` would send."""
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # kustomize warns there about what it will drop
    return list(yaml.safe_load_all(done.stdout))


def all_of(documents: Documents, kind: str) -> Documents:
    """The documents of one kind."""
    return [document for document in documents if document["kind"] == kind]


def names_of(documents: Documents, kind: str) -> set[str]:
    """The names of the documents of one kind."""
    return {document["metadata"]["name"] for document in all_of(documents, kind)}


def deployment(documents: Documents) -> Document:
    """The Deployment; there is one."""
    (found,) = all_of(documents, "Deployment")
    return found


def template(documents: Documents) -> Document:
    """The pod that the Deployment makes: metadata and spec."""
    found: Document = deployment(documents)["spec"]["template"]
    return found


def pod(documents: Documents) -> Document:
    """The pod's spec."""
    found: Document = template(documents)["spec"]
    return found


def container(documents: Documents) -> Document:
    """The container; there is one."""
    (found,) = pod(documents)["containers"]
    assert isinstance(found, dict)
    return found


def container_ports(documents: Documents) -> dict[str, int]:
    """The container's ports by name."""
    return {port["name"]: port["containerPort"] for port in container(documents)["ports"]}


def probes(documents: Documents) -> Iterator[tuple[str, Document]]:
    """The container's probes with their names."""
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in container(documents):
            yield name, container(documents)[name]["httpGet"]


def variables(documents: Documents) -> dict[str, str]:
    """The container's environment, as far as it stands in the manifests."""
    taken = [source.get("configMapRef", {}).get("name") for source in container(documents).get("envFrom", [])]
    found: dict[str, str] = {}
    for config in all_of(documents, "ConfigMap"):
        if config["metadata"]["name"] in taken:
            found |= config["data"]
    return found | {each["name"]: each.get("value", "") for each in container(documents).get("env", [])}


def setting(documents: Documents, name: str) -> Any:
    """What the service will take for a setting: its variable, else its default."""
    default = Settings.model_fields[name].default
    return variables(documents).get(name.upper(), default)


def is_sandbox(documents: Documents) -> bool:
    """Whether this overlay asks the built-in stand-in."""
    return bool(setting(documents, "upstream_url") == SANDBOX_URL)


_UNITS = {"": 1.0, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str | float) -> float:
    """A Kubernetes quantity ("250m", "128Mi") as a number."""
    digits = str(text).rstrip("mkMGKi")
    return float(digits) * _UNITS[str(text)[len(digits) :]]
