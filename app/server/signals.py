"""The signals that end the process, handled from its first line of Python to its last.

Imported before everything else, and so it imports almost nothing itself: while the rest loads, which takes some tenths
of a second, a signal must already be handled. Where this process is the first of a container, the kernel drops every
signal that is not; elsewhere it ends the process with another status than 0. What comes before Python runs its first
line, some 20 ms after the start, nobody can handle.
"""

import atexit
import os
import signal
from types import FrameType


def handled() -> list[signal.Signals]:
    """The signals that end the process. SIGHUP is none where it is ignored from the start, as below ``nohup``."""
    return [
        number
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]


def end_at_once_until_serving() -> None:
    """From now on a signal ends the process with status 0: nothing is there yet that would have to be finished."""
    for number in handled():
        signal.signal(number, _end_at_once)
    # Registered first, so called last. Python gives its handlers back when it ends, and would die of the next signal.
    atexit.register(_ignore)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del number, frame
    os._exit(0)


def _ignore() -> None:
    for number in handled():
        signal.signal(number, signal.SIG_IGN)
