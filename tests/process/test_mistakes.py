"""Every mistake in the table of ``docs/configuration.md``, made over a real start."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running import ROOT, free_port
from tools.start_mistakes import MISTAKES, SECRETS, StartMistake

RESERVED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
WITHOUT_THE_RIGHT = ("setpriv", "--bounding-set=-net_bind_service")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: each.made)
def test_a_start_with_a_mistake_ends_with_status_2_and_the_line_of_the_table(
    mistake: StartMistake, tmp_path: Path, taken: int
) -> None:
    told = started(mistake, tmp_path, taken, command(mistake))
    (line,) = told.stderr.decode().splitlines()
    assert told.returncode == 2
    assert told.stdout == b""
    assert re.fullmatch(".+".join(map(re.escape, mistake.told.split("..."))), line), line
    for secret in ("token-of-the-account", "sixteen-characters", "me:secret"):
        assert secret not in line


def command(mistake: StartMistake) -> tuple[str, ...]:
    """What the start's command begins with; without the right to it where the mistake is a reserved port."""
    if b"PORT=80" not in mistake.variables or os.geteuid() != 0:
        return ()
    if not RESERVED.exists() or int(RESERVED.read_text()) <= 80:
        pytest.skip("every user of this machine may listen on port 80")
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv to give up the right to port 80")
    return WITHOUT_THE_RIGHT


def started(
    mistake: StartMistake, folder: Path, taken: int, before: tuple[str, ...]
) -> "subprocess.CompletedProcess[bytes]":
    """The end of a start in a folder with this mistake in it."""
    if mistake.env_file is None:
        (folder / ".env").mkdir()
    else:
        (folder / ".env").write_bytes(mistake.env_file)
    environment = {b"PYTHONPATH": os.fsencode(ROOT), b"PORT": b"%d" % free_port(), b"METRICS_PORT": b"0"}
    for path, content in mistake.files:
        (folder / path).parent.mkdir(exist_ok=True)
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)
        environment[b"SECRETS_DIR"] = SECRETS.encode()
    environment |= dict(each.replace(b"TAKEN", b"%d" % taken).split(b"=", 1) for each in mistake.variables)
    return subprocess.run(
        [*before, sys.executable, "-m", "app"],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
