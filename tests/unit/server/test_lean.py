"""The event of a connection is asyncio's in all but its size."""

import asyncio
import sys

from hypothesis import given
from hypothesis import strategies as st

from app.server.lean import NO_PIPELINE, Wakeup

STEPS = st.lists(st.sampled_from(["set", "clear", "wait", "cancel", "turn"]), max_size=30)


@given(STEPS)
def test_it_wakes_whom_asyncios_event_wakes(steps: list[str]) -> None:
    async def woken(event: asyncio.Event) -> list[str]:
        tasks: list[asyncio.Task[bool]] = []
        for step in steps:
            if step == "set":
                event.set()
            elif step == "clear":
                event.clear()
            elif step == "wait":
                tasks.append(asyncio.ensure_future(event.wait()))
            elif step == "cancel" and tasks:
                tasks[len(tasks) // 2].cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        found = ["cancelled" if each.cancelled() else str(each.done()) for each in tasks]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [*found, str(event.is_set())]

    async def both() -> None:
        assert await woken(Wakeup()) == await woken(asyncio.Event())

    asyncio.run(both())


def test_nobody_who_waits_costs_a_queue() -> None:
    event = Wakeup()
    event.set()
    assert sys.getsizeof(event) + sum(map(sys.getsizeof, (*vars(event).values(), event._waiters))) < 150

    async def wait_and_leave() -> None:
        event.clear()
        waiting = asyncio.ensure_future(event.wait())
        await asyncio.sleep(0)
        assert sys.getsizeof(event._waiters) < 100
        assert len(event._waiters) == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert event._waiters == ()

    asyncio.run(wait_and_leave())


def test_nothing_can_be_put_into_the_pipeline_that_all_connections_share() -> None:
    NO_PIPELINE.append(1)
    assert not NO_PIPELINE
