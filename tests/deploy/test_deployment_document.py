"""docs/deployment.md says what the manifests say."""

import re

import pytest

from tests.support.manifests.reading import ROOT, Documents, container, pod, setting
from tests.support.manifests.wiring import OLDEST_KUBERNETES


@pytest.fixture
def document() -> str:
    return (ROOT / "docs" / "deployment.md").read_text()


def test_the_seconds_in_which_a_pod_leaves_are_the_manifests(document: str, overlays: dict[str, Documents]) -> None:
    production = overlays["production"]
    wait = container(production)["lifecycle"]["preStop"]["sleep"]["seconds"]
    grace = int(setting(production, "shutdown_grace"))

    assert f"\n| {wait} | SIGTERM." in document
    assert f"\n| up to {wait + grace} | `SHUTDOWN_GRACE` ({grace} s) ends." in document
    assert f"\n| {pod(production)['terminationGracePeriodSeconds']} | `terminationGracePeriodSeconds`." in document


def test_the_memory_limit_and_the_cpu_request_are_the_manifests(document: str, overlays: dict[str, Documents]) -> None:
    resources = container(overlays["production"])["resources"]

    assert f"The limit of {resources['limits']['memory'].replace('Mi', ' MiB')} fits" in document
    assert f"request of {resources['requests']['cpu']} is" in document


def test_the_alert_on_memory_is_about_the_manifests_limit(overlays: dict[str, Documents]) -> None:
    limit = container(overlays["production"])["resources"]["limits"]["memory"].removesuffix("Mi")
    rules = (ROOT / "deploy" / "monitoring" / "rules.yaml").read_text()

    assert f"process_resident_memory_bytes > 0.8 * {limit} * 1024 * 1024" in rules


def test_the_oldest_kubernetes_is_the_one_that_is_checked(document: str) -> None:
    assert f"Kubernetes {OLDEST_KUBERNETES} or newer" in document


def test_every_path_that_it_names_is_there(document: str) -> None:
    paths = re.findall(r"(?:deploy/kubernetes|base|components)/[\w./-]*\w", document)

    assert paths
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / "deploy" / "kubernetes" / path).exists(), path
