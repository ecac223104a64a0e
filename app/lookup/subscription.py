"""One caller's wait for news, and what is known of the messages that it waits for."""

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from app.lookup.cache.protocol import Cacheable, serves
from app.lookup.failures import LookupFailure, MessageNotFound
from app.lookup.states import MessageRecord


class View(NamedTuple):
    """What is known of a message: the last answer of the platform and its second, and the failure since then and its
    second."""

    answer: Cacheable | None
    replied_at: float
    failure: LookupFailure | None
    failed_at: float = -math.inf

    def serves(self, detail: bool) -> bool:
        """Whether there is an answer that has what is wanted."""
        return self.answer is not None and serves(self.answer, detail)

    @property
    def settled(self) -> bool:
        """Whether no news is to be expected: the state is final, or the platform does not know the message."""
        return isinstance(self.answer, MessageNotFound) or (
            isinstance(self.answer, MessageRecord) and self.answer.meaning.final
        )


NOTHING_KNOWN = View(None, -math.inf, None)


class Subscription:
    """One caller's wait for news of some messages. Use it as a context manager, or ``close`` it.

    ``over``: no news will come any more, since the service stops or the caller has left.
    """

    __slots__ = ("_forget", "_news", "_waker", "detail", "ids", "over")

    def __init__(self, ids: Iterable[int], detail: bool, forget: "Callable[[Subscription], None]") -> None:
        self._forget = forget
        self._news: dict[int, None] = {}
        self._waker: asyncio.Future[None] | None = None
        self.ids = tuple(dict.fromkeys(ids))
        self.detail = detail
        self.over = False

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def news(self, seconds: float) -> list[int]:
        """The messages that have changed since the last call, as soon as there are any.

        Empty when the time is up or the wait is ``over``.
        """
        if not self._news and not self.over and seconds > 0:
            loop = asyncio.get_running_loop()
            self._waker = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waker
            finally:
                timer.cancel()
                self._waker = None
        news = list(self._news)
        self._news.clear()
        return news

    def tell(self, id_: int) -> None:
        """There is news of a message."""
        self._news[id_] = None
        self._wake()

    def end(self) -> None:
        """Nobody has to wait any longer."""
        self.over = True
        self._wake()

    def close(self) -> None:
        """Let go of everything; may be called twice."""
        self.end()
        self._forget(self)

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)
