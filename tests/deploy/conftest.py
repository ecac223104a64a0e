"""The overlays, rendered once."""

import shutil

import pytest

from tests.support.manifests.reading import MANIFESTS, ROOT, Documents, render

AUTOSCALED = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../production]
components: [../../components/autoscaling]
"""
WITH_REDIS = AUTOSCALED.replace("autoscaling", "redis")


@pytest.fixture(scope="session")
def overlays(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Documents]:
    """The documents of each overlay, and of the production one with each of the components."""
    tree = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(MANIFESTS, tree)
    for name, text in (("autoscaled", AUTOSCALED), ("with-redis", WITH_REDIS)):
        (tree / "overlays" / name).mkdir()
        (tree / "overlays" / name / "kustomization.yaml").write_text(text)
    return {folder.name: render(folder) for folder in sorted((tree / "overlays").iterdir())}


@pytest.fixture
def dockerfile() -> str:
    """The Dockerfile's text."""
    return (ROOT / "Dockerfile").read_text()
