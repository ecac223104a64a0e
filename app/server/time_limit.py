"""The end of the process, whatever it waits for."""

import os
import threading
import time

LOOK_SECONDS = 0.05


class ExitDeadline:
    """Ends the process with status 0 when its time is over, whatever it still waits for then: an exporter of traces
    whose collector does not answer, a name that is not resolved, a server that does not close its connection."""

    def __init__(self) -> None:
        self._end = float("inf")
        self._begun = threading.Event()
        threading.Thread(target=self._watch, name="time limit of the end", daemon=True).start()

    def at_most(self, seconds: float) -> None:
        """From now on the process has at most so many seconds; called by signal handlers as well."""
        self._end = min(self._end, time.monotonic() + seconds)
        if not self._begun.is_set():
            self._begun.set()

    def _watch(self) -> None:
        self._begun.wait()
        while time.monotonic() < self._end:
            time.sleep(LOOK_SECONDS)
        os._exit(0)
