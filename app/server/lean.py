"""Parts of a connection that take less memory than asyncio's and uvicorn's while nothing happens: 2.2 KB of each."""

import asyncio
from collections import deque
from typing import Any, Literal

NO_PIPELINE: deque[Any] = deque(maxlen=0)
"""Of uvicorn's pipeline nothing is used; all connections share this one."""


class Wakeup(asyncio.Event):
    """``asyncio.Event`` with a queue only while somebody waits: it is 0.7 KB for each event.

    Relies on asyncio's ``_value`` and ``_waiters``, which ``set`` and ``wait`` go through.
    """

    _value = False
    _waiters: Any = ()

    __init__ = object.__init__  # asyncio's makes the queue

    async def wait(self) -> Literal[True]:
        """Wait until it is set."""
        if not self._value:
            if not self._waiters:
                self._waiters = deque()
            try:
                await super().wait()
            finally:
                if not self._waiters:
                    self._waiters = ()
        return True
