"""Parts of a connection that take less memory than asyncio's and uvicorn's while nothing happens: 2.2 KB of each."""

import asyncio
from collections import deque
from typing import Any, Literal

NO_PIPELINE: deque[Any] = deque(maxlen=0)
"""Of uvicorn's pipeline nothing is used; all connections share this one."""


class Wakeup(asyncio.Event):
    """``asyncio.Event`` without its queue, which is 0.7 KB for each event: a tuple of those who wait does.

    Relies on asyncio's ``_value`` and ``_waiters``: ``set`` goes through the latter.
    """

    _value = False
    _waiters: Any = ()

    __init__ = object.__init__  # asyncio's makes the queue

    async def wait(self) -> Literal[True]:
        """Wait until it is set."""
        if not self._value:
            future = asyncio.get_running_loop().create_future()
            self._waiters += (future,)
            try:
                await future
            finally:
                self._waiters = tuple(each for each in self._waiters if each is not future)
        return True
