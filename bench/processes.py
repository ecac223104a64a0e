"""Starting processes pinned to a core, and what Linux tells about them: CPU time and memory."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

START_SECONDS = 20.0
STOP_SECONDS = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class StartFailure(Exception):
    """A process ended or stayed silent instead of serving."""


def cores() -> tuple[int, int] | None:
    """The core of the candidates and the core of the rest; None where nothing can be pinned."""
    available = sorted(os.sched_getaffinity(0))
    return (available[0], available[1]) if len(available) > 1 and shutil.which("taskset") else None


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command, held to one core."""
    return command if core is None else ["taskset", "-c", str(core), *command]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, start_seconds: float) -> None:
        self._process = process
        self._log = log
        self.port = port
        self.start_seconds = start_seconds

    @property
    def host(self) -> str:
        """Where it listens, as in a Host header."""
        return f"127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time that it has used since it started, in user and kernel."""
        # The second field is the program's name in brackets and may hold spaces.
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Memory that it holds now."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def forget_log(self) -> None:
        """Empty its log, which grows by a line for each request."""
        os.truncate(self._log, 0)


@contextlib.contextmanager
def running(command: list[str], env: Mapping[str, str], core: int | None, port: int, folder: Path) -> Iterator[Process]:
    """Start a server, wait until it is ready, and stop it at the end. ``folder`` is its working directory."""
    log = folder / f"{port}.log"
    started = time.perf_counter()
    with log.open("ab") as output:
        process = subprocess.Popen(pinned(command, core), env=env, cwd=folder, stdout=output, stderr=output)
    try:
        while not _ready(port):
            if process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise StartFailure(f"{' '.join(command)} does not serve:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)
        yield Process(process, port, log, time.perf_counter() - started)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ready(port: int) -> bool:
    """Whether ``/readyz`` is answered; where there is no such path, its 404 says as much."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False
