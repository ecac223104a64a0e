"""Processes that a whole module of tests shares.

Synchronous, unlike ``running``: pytest's module fixtures live in no event loop.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.running import ROOT, START_SECONDS


def environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """What a process sees: these variables, no others that could be settings, and no secrets of the machine."""
    own = {"PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", ""), "SECRETS_DIR": str(folder), "METRICS_PORT": "0"}
    return own | dict(variables)


@contextmanager
def listening(folder: Path, module: str, port: int, *options: str, **variables: str) -> Iterator[Path]:
    """A module as a process that listens on ``port``; yields the file that its output goes to."""
    output = folder / f"{module}.{port}.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd=folder,
            env=environment(folder, variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _until_it_listens(process, port, output)
            yield output
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _until_it_listens(process: subprocess.Popen[bytes], port: int, output: Path) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        # The only way to learn of another process's listening; it ends as soon as it can.
        time.sleep(0.02)
    raise AssertionError(f"no server on port {port}:\n{output.read_text()}")
