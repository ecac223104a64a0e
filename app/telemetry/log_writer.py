"""Standard error, written by a thread of its own, so that nobody waits for whoever reads it.

A pipe that nobody reads from takes no more after 64 KiB, and the next write waits for ever; a full disk or a closed
pipe refuses each write. Here both cost lines, which are counted, and neither requests nor memory.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

MAX_CHARACTERS = 4 * 1024 * 1024
MAX_LINES = 20_000
"""What waits to be written at most, some seconds of the access log under full load; lines that come together count as
one. What comes then is lost, until half of it is written."""
GATHER_SECONDS = 0.01
"""Between two writes, so that under load one write takes many lines. The first line after a silence is not delayed."""
FLUSH_SECONDS = 1.0
"""What the end of the process waits for lines that are not written yet."""
WRITE_BYTES = 64 * 1024
"""In one call, so that what was written is known when a later one is refused."""
RETRY_SECONDS = 0.05
"""For a stream that does not wait, and says that it is full."""

log = logging.getLogger(__name__)


class LogWriter:
    """Writes lines to a file descriptor in the order in which they come. ``clock`` is monotonic, in seconds.

    ``write`` may be called by any thread, and takes a microsecond. The thread that writes starts with the first line.
    """

    def __init__(self, descriptor: int = 2, clock: Callable[[], float] = time.monotonic) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self.lost = 0
        """Lines that were not written, and will not be."""
        self._told = 0
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        """Nothing waits. A forked process begins here: its parent writes what waited, by a thread that only it has."""
        # A finalizer may write as well, whenever the collector of garbage runs: also while this thread has the lock.
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lines: list[str] = []
        self._size = 0
        self._is_full = False
        self._is_idle = True
        self._fails = False
        self._ends_in_line = False
        self._writing_since: float | None = None

    @property
    def stuck_seconds(self) -> float:
        """For how long the write under way has waited; 0 where there is none."""
        since = self._writing_since
        return 0.0 if since is None else self._clock() - since

    def write(self, lines: str) -> None:
        """Write one line or several, each with its line end, as soon as possible."""
        with self._lock:
            if self._lines and (
                self._is_full or self._size + len(lines) > MAX_CHARACTERS or len(self._lines) >= MAX_LINES
            ):
                self._is_full = True
                self.lost += lines.count("\n")
                return
            self._lines.append(lines)
            self._size += len(lines)
            if not self._is_idle:
                return
            self._is_idle = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        self._wake.set()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until everything is written, for so many seconds at most. Returns whether it is."""
        end = self._clock() + seconds
        while not self._is_idle and self._clock() < end:
            time.sleep(GATHER_SECONDS / 4)
        return self._is_idle

    def report_losses(self) -> None:
        """One line about those that are lost, once lines are written again; something has to call it now and then."""
        lost = self.lost - self._told
        if lost and not (self._fails or self._is_full):
            self._told = self.lost
            log.error("%d log lines are lost: standard error did not take them", lost)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while lines := self._take():
                self._write_all("".join(lines).encode(errors="backslashreplace"))
                with self._lock:
                    self._size -= sum(map(len, lines))
                    self._is_full = self._is_full and self._size > MAX_CHARACTERS // 2
                time.sleep(GATHER_SECONDS)

    def _take(self) -> list[str]:
        with self._lock:
            lines, self._lines = self._lines, []
            self._is_idle = not lines
            return lines

    def _write_all(self, text: bytes) -> None:
        """Write it, or as much as is taken; what follows a part of a line begins a new one."""
        lines = text.count(b"\n")
        if self._ends_in_line:
            text = b"\n" + text
        written = 0
        self._writing_since = self._clock()
        try:
            while written < len(text):
                try:
                    written += os.write(self._descriptor, text[written : written + WRITE_BYTES])
                except BlockingIOError:
                    time.sleep(RETRY_SECONDS)
            self._fails = self._ends_in_line = False
        except OSError:
            self._fails = True
            self._ends_in_line = self._ends_in_line if not written else text[written - 1 : written] != b"\n"
            with self._lock:
                self.lost += min(lines, text.count(b"\n", written))
        finally:
            self._writing_since = None
