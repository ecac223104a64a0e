"""The manifests agree with the code and with themselves, and every check of that can fail."""

import copy
from pathlib import Path

import pytest

from app.api import webhook
from app.server.refusals import Limits
from app.settings.loading import load_settings
from tests.deploy.breaks import BREAKS
from tests.deploy.conftest import COMPONENTS
from tests.support.manifests.breaking import Break
from tests.support.manifests.checks import CHECKS, Check
from tests.support.manifests.reading import MANIFESTS, Documents, all_of, is_sandbox, pod, variables

OVERLAYS = [*sorted(folder.name for folder in (MANIFESTS / "overlays").iterdir()), *COMPONENTS]
COMMON_INGRESS_KEEP_ALIVE_SECONDS = 60
TO_CHANGE = ["newName", "newTag", "UPSTREAM_URL", "UPSTREAM_TIMEZONE", "secretName", "ingress-nginx", "monitoring"]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_gives_no_cause_for_complaint(overlay: str, check: Check, overlays: dict[str, Documents]) -> None:
    assert check(overlays[overlay]) == []


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_a_broken_fact_is_noticed(broken: Break, overlays: dict[str, Documents]) -> None:
    complaints = broken.check(broken.of(overlays[broken.overlay]))

    assert any(broken.complaint in complaint for complaint in complaints), complaints


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_been_seen_to_fail(check: Check) -> None:
    assert check in {broken.check for broken in BREAKS}


def test_the_sandbox_overlay_runs_the_sandbox_and_the_others_do_not(overlays: dict[str, Documents]) -> None:
    assert {name for name, documents in overlays.items() if is_sandbox(documents)} == {"sandbox"}


def test_the_sandbox_overlays_settings_need_nothing_else(
    overlays: dict[str, Documents], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in variables(overlays["sandbox"]).items():
        monkeypatch.setenv(name, value)

    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert load_settings()[0].sandboxed


def test_a_changed_setting_rolls_the_pods(overlays: dict[str, Documents]) -> None:
    names = {all_of(documents, "ConfigMap")[0]["metadata"]["name"] for documents in overlays.values()}

    assert len(names) == 2  # the overlays with a component have production's settings


def test_only_pods_that_may_read_secrets_belong_to_their_group(overlays: dict[str, Documents]) -> None:
    (volume,) = pod(overlays["production"])["volumes"]

    assert volume["secret"]["defaultMode"] == 0o440
    assert pod(overlays["production"])["securityContext"]["fsGroup"] > 0


def test_the_redis_component_opens_the_way_to_redis_and_nothing_else(overlays: dict[str, Documents]) -> None:
    def without_egress(name: str) -> Documents:
        documents = copy.deepcopy(overlays[name])
        all_of(documents, "NetworkPolicy")[0]["spec"].pop("egress")
        return documents

    before, after = (
        all_of(overlays[name], "NetworkPolicy")[0]["spec"]["egress"] for name in ("production", "with-redis")
    )
    assert without_egress("with-redis") == without_egress("production")
    assert after[:-1] == before
    assert after[-1]["ports"] == [{"port": 6379, "protocol": "TCP"}]
    assert [sorted(peer) for peer in after[-1]["to"]] == [["namespaceSelector", "podSelector"]]


def test_the_webhook_component_lets_in_the_webhook_and_nothing_else(overlays: dict[str, Documents]) -> None:
    assert all_of(overlays["production"], "Ingress") == []
    (ingress,) = all_of(overlays["with-webhook"], "Ingress")
    (rule,) = ingress["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert (path["path"], path["pathType"]) == ("/webhooks/", "Prefix")
    assert path["path"] == f"{webhook.PREFIX}/"
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]]
    # The controller's log would hold the token.
    assert ingress["metadata"]["annotations"] == {"nginx.ingress.kubernetes.io/enable-access-log": "false"}
    (service,) = all_of(overlays["with-webhook"], "Service")
    assert path["backend"]["service"]["name"] == service["metadata"]["name"]
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    others = [document for document in overlays["with-webhook"] if document["kind"] != "Ingress"]
    assert others == overlays["production"]


def test_a_kept_alive_connection_outlives_an_ingresses_patience() -> None:
    assert Limits().idle_seconds > COMMON_INGRESS_KEEP_ALIVE_SECONDS


def test_every_component_is_tried() -> None:
    assert set(COMPONENTS.values()) == {folder.name for folder in (MANIFESTS / "components").iterdir()}


def test_what_to_change_first_is_marked() -> None:
    text = "".join(path.read_text() for path in sorted((MANIFESTS / "overlays" / "production").iterdir()))

    for marked in TO_CHANGE:
        lines = [line for line in text.splitlines() if marked in line and not line.lstrip().startswith("#")]
        assert len(lines) == 1, marked
        assert "# CHANGE: " in lines[0], marked
