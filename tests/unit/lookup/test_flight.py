"""Slots and flights: who may have a request at the platform, and when the next one leaves."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from app.lookup.failures import CredentialsRejected
from app.lookup.flight import Slots
from app.lookup.guard import UNPROVEN_WIDTH
from app.lookup.platform import Answer
from tests.support.lookup import LATENCY, PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import on_virtual_time

pytestmark = pytest.mark.anyio

READING = 0.01


async def times(count: int, *, slots: int = 1, batch_size: int = 2) -> list[float]:
    """When the requests leave that a batch of so many ids needs, in seconds after the first."""
    platform = PlatformInMemory(reading=READING)
    engine = await warmed(platform, max_in_flight=slots, batch_size=batch_size)
    await ask(engine, range(count))
    await assert_nothing_left(engine)
    assert platform.most_in_flight <= slots
    return [request.at - platform.requests[0].at for request in platform.requests]


@on_virtual_time
async def test_a_full_batch_leaves_while_the_reply_before_it_is_read() -> None:
    assert await times(4) == pytest.approx([0, LATENCY])


@on_virtual_time
async def test_a_batch_that_is_not_full_waits_for_those_who_come_back_with_the_reply() -> None:
    assert await times(3) == pytest.approx([0, LATENCY + READING])


@on_virtual_time
async def test_as_many_replies_may_be_unread_as_there_are_slots() -> None:
    platform = PlatformInMemory(reading=1.0)
    engine = await warmed(platform, max_in_flight=2, batch_size=1)
    await ask(engine, range(8))
    # Those of the second pair keep their slots until they are read.
    pairs = [0, LATENCY, 2 * LATENCY + 1, 3 * LATENCY + 1]
    assert [request.at - platform.requests[0].at for request in platform.requests] == pytest.approx(
        [at for pair in pairs for at in (pair, pair)]
    )


@on_virtual_time
async def test_a_flight_that_gave_its_slot_away_waits_for_one_to_ask_again() -> None:
    platform = PlatformInMemory(unknown={1}, reading=READING)
    engine = await warmed(platform, max_in_flight=1, batch_size=2)
    await ask(engine, [1, 2, 3, 4])
    first, second, again = platform.requests
    assert (first.ids, second.ids, again.ids[0]) == ([1, 2], [3, 4], 1)
    assert again.at == pytest.approx(second.at + LATENCY + READING)
    assert platform.most_in_flight == 1


@on_virtual_time
async def test_credentials_that_are_not_proven_are_not_sent_again_before_the_reply_is_read() -> None:
    platform = PlatformInMemory(refuses=lambda _: True, refusal=CredentialsRejected, reading=READING)
    engine = engine_before(platform, batch_size=1)
    assert kinds(await ask(engine, range(8))) == {"CredentialsRejected"}
    assert len(platform.requests) == UNPROVEN_WIDTH
    await assert_nothing_left(engine)


@on_virtual_time
async def test_the_requests_of_one_batch_leave_a_turn_apart() -> None:
    turn = 0
    departures: list[int] = []

    class Watched(PlatformInMemory):
        async def ask(self, asked: Mapping[int, bool], replied: Callable[[], bool]) -> dict[int, Answer]:
            departures.append(turn)
            return await super().ask(asked, replied)

    engine = await warmed(Watched(), batch_size=1)
    asking = asyncio.create_task(ask(engine, range(4)))
    departures.clear()
    for turn in range(20):  # noqa: B007 - read when a request leaves
        await asyncio.sleep(0)
    assert [each - departures[0] for each in departures] == [0, 1, 2, 3]
    await asking


async def test_slots_go_to_those_who_wait_in_turn_before_anybody_new() -> None:
    departures: list[str] = []
    slots = Slots(lambda: 1, on_free=lambda: departures.append("new"))
    await slots.take()
    first, second = await waiting(slots, 2)
    assert slots.give_back()
    await first
    assert not second.done()
    assert slots.give_back()
    await second
    assert departures == []
    assert not slots.give_back()
    assert (departures, slots.in_use) == (["new"], 0)


@pytest.mark.parametrize("turns", [0, 1], ids=["in this turn", "before"])
async def test_whoever_leaves_the_line_takes_no_slot_along(turns: int) -> None:
    slots = Slots(lambda: 1)
    await slots.take()
    early, late, last = await waiting(slots, 3)
    early.cancel()
    for _ in range(turns):
        await asyncio.sleep(0)
    assert slots.give_back()
    # It has been given one, and has not seen it yet.
    late.cancel()
    await asyncio.gather(early, late, return_exceptions=True)
    await last
    assert slots.in_use == 1


async def test_where_there_are_more_slots_than_before_those_who_wait_get_them_first() -> None:
    width = 1
    slots = Slots(lambda: width)
    await slots.take()
    waiters = await waiting(slots, 2)
    width = 3
    assert not slots.free
    assert slots.give_back()
    await asyncio.gather(*waiters)
    assert (slots.in_use, slots.free) == (2, True)


async def test_where_there_are_fewer_slots_than_before_nobody_gets_one_too_many() -> None:
    width = 3
    slots = Slots(lambda: width)
    for _ in range(3):
        await slots.take()
    (task,) = await waiting(slots, 1)
    width = 1
    assert [slots.give_back() for _ in range(3)] == [False, False, True]
    await task
    assert slots.in_use == 1


async def waiting(slots: Slots, count: int) -> list[asyncio.Task[None]]:
    """So many who stand in line for a slot."""
    tasks = [asyncio.create_task(slots.take()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks
