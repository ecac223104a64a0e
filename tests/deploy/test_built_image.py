"""The image as it is built, run read-only and without capabilities. ``make drill-image`` rehearses every fault."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.addresses import has_ipv6
from tests.support.manifests.reading import ROOT
from tests.support.scale import only_in_ci
from tools.drill.__main__ import NIGHT, Fault, rehearse
from tools.drill.ends import ENDS, every_address
from tools.drill.service import RESTRICTED, Place

pytestmark = [pytest.mark.anyio, only_in_ci]

NAME = "message-state-proxy:test"
OF_THE_MACHINE = [fault for fault in NIGHT if fault.log != "file" or fault.descriptors]


def docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", *arguments], env={**os.environ, "DOCKER_BUILDKIT": "1"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def image(dockerfile: str) -> str:
    """The built image. ``BASE`` is another tag of ``python`` than the pinned one, as for ``make drill-image``."""
    if shutil.which("docker") is None or docker("version").returncode:
        pytest.skip("needs docker and a daemon that it reaches")
    pinned = re.search(r"^ARG PYTHON=(\S+)$", dockerfile, re.MULTILINE)
    assert pinned is not None
    base = os.environ.get("BASE") or pinned[1]
    if docker("image", "inspect", f"python:{base}").returncode and docker("pull", f"python:{base}").returncode:
        pytest.skip(f"docker cannot get the base image python:{base}")
    built = docker("build", "--network=host", f"--build-arg=PYTHON={base}", "-t", NAME, str(ROOT))
    assert built.returncode == 0, built.stderr
    return NAME


def test_it_has_no_installer_and_no_rights(image: str) -> None:
    program = """
import importlib.util, os
assert not any(map(importlib.util.find_spec, ("pip", "setuptools", "wheel")))
assert os.getuid() == os.getgid() == 10001
assert not any(os.access(folder, os.W_OK) for folder in ("/srv", "/srv/app", "/opt/venv", "/"))
"""
    done = docker("run", "--rm", *RESTRICTED, "--entrypoint=/usr/local/bin/python", image, "-c", program)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_setting_ends_it_with_2_and_a_readable_line(image: str) -> None:
    done = docker("run", "--rm", *RESTRICTED, "--env=UPSTREAM_URL=sandbox:", "--env=PORT=none", image)
    assert done.returncode == 2
    assert done.stderr.startswith("PORT: ")


@pytest.mark.parametrize("name", ENDS)
async def test_it_ends_and_serves_as_a_process_does(name: str, image: str, tmp_path: Path) -> None:
    if ENDS[name] is every_address and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    assert await ENDS[name](Place(tmp_path, image)) is None


@pytest.mark.parametrize("fault", OF_THE_MACHINE, ids=lambda fault: fault.name)
async def test_its_metrics_name_a_fault_of_the_machine(fault: Fault, image: str, tmp_path: Path) -> None:
    outcome = await rehearse(fault, Place(tmp_path, image))
    assert outcome.passed, outcome
