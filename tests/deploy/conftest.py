"""The overlays, rendered once."""

import shutil

import pytest

from tests.support.manifests.reading import MANIFESTS, ROOT, Documents, render

COMPONENTS = {
    "autoscaled": "autoscaling",
    "monitored": "pod-monitor",
    "with-redis": "redis",
    "with-webhook": "webhook-ingress",
}
WITH_COMPONENT = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../production]
components: [../../components/{component}]
"""


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Documents]:
    """The documents of each overlay, and of the production one with each component."""
    tree = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(MANIFESTS, tree)
    for name, component in COMPONENTS.items():
        (tree / "overlays" / name).mkdir()
        (tree / "overlays" / name / "kustomization.yaml").write_text(WITH_COMPONENT.format(component=component))
    return {folder.name: render(folder) for folder in sorted((tree / "overlays").iterdir())}


@pytest.fixture(scope="session")
def dockerfile() -> str:
    """The Dockerfile's text."""
    return (ROOT / "Dockerfile").read_text()
