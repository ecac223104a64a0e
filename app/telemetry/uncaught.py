"""What Python writes to standard error by itself, warnings and errors that nobody catches: here they are log lines.

Else they would be lines without form, with whatever secret is in them; and since Python writes them at once, a pipe
that nobody reads from would stop the thread that warns, for ever.
"""

import logging
import sys
import threading
import warnings
from types import TracebackType

log = logging.getLogger(__name__)


def log_what_is_uncaught() -> None:
    """From now on, for the whole process."""
    warnings.showwarning = _warned
    sys.excepthook = _ended
    sys.unraisablehook = _unraisable
    threading.excepthook = _thread_ended


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object, **more: object
) -> None:
    del more
    fields = {"kind": category.__name__, "place": f"{filename}:{lineno}"}
    log.warning("Python warns: %s", message, extra={"fields": fields})


def _ended(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    del kind, traceback
    log.error("unhandled error: the process ends", exc_info=error)


def _unraisable(args: "sys.UnraisableHookArgs") -> None:
    log.error("unhandled error where nobody can handle it", exc_info=args.exc_value)


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit:
        log.error("unhandled error in a thread", exc_info=args.exc_value)
