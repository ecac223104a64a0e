"""What make would do, without doing it."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT


def recipe(*arguments: str, **variables: str) -> str:
    """The commands of a target."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = subprocess.run(
        ["make", "-n", "-o", ".venv/.run", "-o", ".venv/.dev", *arguments],
        cwd=ROOT, env={**plain, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout


@pytest.mark.parametrize("target", ["run", "run-redis"])
def test_ports_count_before_and_behind_make(target: str) -> None:
    for told in (recipe(target, PORT="18003", METRICS_PORT="0"), recipe(target, "PORT=18003", "METRICS_PORT=0")):
        assert " PORT=18003 " in told
        assert " METRICS_PORT=0 " in told


def test_the_tests_say_why_some_are_skipped() -> None:
    assert " -rs " in recipe("test")


def test_redis_is_waited_for_until_it_is_our_own() -> None:
    told = recipe("run-redis", REDIS_PORT="6499")
    assert told.index('grep -qx "process_id:$redis"') < told.index("CACHE_URL=redis://127.0.0.1:6499/0")
