"""``compose.yaml`` and the workflow of CI: what they name is there, and says what the code says."""

import re
import tomllib
from typing import Any

import yaml

from app.settings import Settings
from tests.conftest import ROOT


def document(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_compose_sets_settings_and_starts_with_the_sandbox() -> None:
    service = document("compose.yaml")["services"]["service"]
    assert {name.lower() for name in service["environment"]} <= Settings.model_fields.keys()
    settings = {name.lower(): value for name, value in service["environment"].items()}
    (file,) = service["env_file"]
    default = re.fullmatch(r"\$\{MESSAGE_STATE_ENV:-(.+)\}", file["path"])
    assert default is not None
    lines = (ROOT / default[1]).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["UPSTREAM_URL=sandbox:"]
    checked = Settings(upstream_url="sandbox:", **settings)
    assert checked.host == "0.0.0.0"
    ports = {port.rpartition(":")[2] for port in service["ports"]}
    assert ports == {str(checked.port), str(checked.metrics_port)}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_grace_of_compose_is_longer_than_the_services() -> None:
    grace = document("compose.yaml")["services"]["service"]["stop_grace_period"]
    assert float(grace.removesuffix("s")) > Settings.model_fields["shutdown_grace"].default


def test_the_workflow_runs_ci_with_every_promised_python_one_a_job() -> None:
    job = document(".github/workflows/ci.yml")["jobs"]["run"]
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert job["strategy"]["matrix"]["python"][0] == promised.removeprefix(">=")
    assert len(job["strategy"]["matrix"]["python"]) >= 3
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == ".ci/run"
    assert job["steps"][-1]["env"] == {"PYTHON": "python"}
