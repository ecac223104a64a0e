"""Time that passes only in the program: minutes of waiting take milliseconds.

``asyncio``'s own timers run on it, so the code under test needs nothing but ``clock=loop.time``.
"""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar, TypeVarTuple

P = ParamSpec("P")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _NoWaiting(selectors.DefaultSelector):
    """Where the loop would sleep until its next timer, moves the time there instead."""

    def __init__(self) -> None:
        super().__init__()
        # Not zero: code that takes "never" for zero must not get away with it.
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and no timer is left that could end it")
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` jumps to the next timer when nothing else is left to do."""

    def __init__(self) -> None:
        self._selector_with_time = _NoWaiting()
        self._timers: list[asyncio.TimerHandle] = []
        super().__init__(self._selector_with_time)

    def time(self) -> float:
        return self._selector_with_time.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = super().call_at(when, callback, *args, context=context)
        self._timers.append(timer)
        return timer

    def pending_timers(self) -> list[asyncio.TimerHandle]:
        """The timers that have neither fired nor been cancelled."""
        self._timers = [timer for timer in self._timers if not timer.cancelled() and timer.when() > self.time()]
        return self._timers


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on virtual time; fails when it leaves a task behind."""

    async def watched() -> T:
        result = await coroutine
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"left behind: {left}"
        return result

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(watched())


def on_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Let pytest and hypothesis call an ``async`` test, which then runs on virtual time."""

    @functools.wraps(test)
    def called(*args: P.args, **kwargs: P.kwargs) -> None:
        async def scenario() -> None:
            await test(*args, **kwargs)

        run(scenario())

    return called


def loop() -> VirtualTimeLoop:
    """The running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualTimeLoop)
    return running
