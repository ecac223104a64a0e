"""The limit of open files, which connections count for as well, and how much of it is used."""

import os
import resource


def limit() -> int | None:
    """The limit of open files of this process; None where there is none."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def in_use() -> int:
    """The descriptors that are open now. Raises OSError where that cannot be told, above all where none is left."""
    return len(os.listdir("/dev/fd")) - 1  # without the one that listing them takes
