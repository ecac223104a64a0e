"""The event of a connection is asyncio's in all but its size."""

import asyncio
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.lean import NO_PIPELINE, LeanFlowControl, Wakeup

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
    assert sum(sys.getsizeof(each) for each in vars(event).values() if each is not False) < 100
    assert isinstance(vars(LeanFlowControl(None))["_is_writable_event"], Wakeup)  # type: ignore[arg-type]  # unused


def test_nothing_can_be_put_into_the_pipeline_that_all_connections_share() -> None:
    NO_PIPELINE.append(1)
    assert not NO_PIPELINE


@pytest.mark.parametrize("set_first", [True, False])
def test_a_writer_goes_on_once_there_is_room(set_first: bool) -> None:
    async def scenario() -> None:
        flow = LeanFlowControl(None)  # type: ignore[arg-type]  # the transport is for reading
        if not set_first:
            flow.pause_writing()
            asyncio.get_running_loop().call_soon(flow.resume_writing)
        await asyncio.wait_for(flow.drain(), 1)

    asyncio.run(scenario())
