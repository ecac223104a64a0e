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
    """A server. ``start_seconds``: from the command line to the first answer, when it was started last."""

    def __init__(self, command: list[str], env: Mapping[str, str], core: int | None, port: int, folder: Path) -> None:
        self._command = pinned(command, core)
        self._env = env
        self._folder = folder
        self._log = folder / f"{port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.start_seconds = 0.0

    def start(self) -> None:
        """Start it and wait until it is ready. Raises StartFailure with the end of its log where it never is."""
        started = time.perf_counter()
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._env, cwd=self._folder, stdout=output, stderr=output
            )
        while not _ready(self.port):
            if self._process.poll() is not None or time.perf_counter() - started > START_SECONDS:
                raise StartFailure(f"{' '.join(self._command)} does not serve:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.005)
        self.start_seconds = time.perf_counter() - started

    def stop(self, patience: float = STOP_SECONDS) -> None:
        """End it; by force where it is not gone after ``patience`` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Start it anew, whatever it was doing."""
        self.stop(patience=0)
        self.start()

    def _proc(self, name: str) -> str:
        assert self._process is not None
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    @property
    def host(self) -> str:
        """Where it listens, as in a Host header."""
        return f"127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """CPU time that it has used since it started, in user and kernel."""
        # The second field is the program's name in brackets and may hold spaces.
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mb(self) -> float:
        """Memory that it holds now."""
        return int(self._proc("status").partition("VmRSS:")[2].split()[0]) / 1024

    def forget_log(self) -> None:
        """Empty its log, which grows by a line for each request."""
        os.truncate(self._log, 0)


@contextlib.contextmanager
def running(command: list[str], env: Mapping[str, str], core: int | None, port: int, folder: Path) -> Iterator[Process]:
    """Start a server, and stop it at the end. ``folder`` is its working directory and takes its log."""
    process = Process(command, env, core, port, folder)
    try:
        process.start()
        yield process
    finally:
        process.stop()


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
