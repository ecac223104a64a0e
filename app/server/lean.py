"""Parts of a connection that take less memory than asyncio's and uvicorn's while nothing happens: 2.2 KB of each."""

import asyncio
from collections import deque
from typing import Any, Literal

from uvicorn.protocols.http.flow_control import FlowControl

NO_PIPELINE: deque[Any] = deque(maxlen=0)
"""Of uvicorn's pipeline nothing is used; all connections share this one."""


class Wakeup(asyncio.Event):
    """``asyncio.Event`` without a queue where nobody waits: that is 0.7 KB for each event."""

    def __init__(self) -> None:
        # Not that of asyncio's, which makes the queue.
        self._is_set = False
        self._waiting: tuple[asyncio.Future[None], ...] = ()

    def is_set(self) -> bool:
        """Whether nobody has to wait."""
        return self._is_set

    def set(self) -> None:
        """Wake those who wait, and let nobody wait any more."""
        self._is_set = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def clear(self) -> None:
        """Let them wait again."""
        self._is_set = False

    async def wait(self) -> Literal[True]:
        """Wait until it is set."""
        if not self._is_set:
            future = asyncio.get_running_loop().create_future()
            self._waiting += (future,)
            try:
                await future
            finally:
                self._waiting = tuple(each for each in self._waiting if each is not future)
        return True


class LeanFlowControl(FlowControl):
    """uvicorn's, with such an event."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = Wakeup()
        self._is_writable_event.set()
