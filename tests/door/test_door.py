"""Each case of the catalogue, over a real socket before the real application and the production server."""

import logging

import pytest

from tests.door.case import Answer, Case, get
from tests.door.catalogue import CASES
from tests.support.door import Door, RawCaller, Reply, at_the_door, until
from tests.support.leftovers import descriptors, nothing_left_behind
from tests.support.listening import a_few_turns

pytestmark = pytest.mark.anyio

ALL = [case for group in CASES.values() for case in group]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
async def test_the_server_holds_when_a_client(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with nothing_left_behind(), at_the_door(case.limits, **case.settings) as door:
        assert await _answers(door)
        await until(lambda: not door.connections)
        await a_few_turns()
        before = descriptors()
        async with door.caller() as caller:
            await caller.send(*case.packets)
            for number, wanted in enumerate(case.answers):
                method = case.methods[number] if case.methods else "GET"
                _check(wanted, await caller.reply(method))
            if case.stays:
                assert await caller.is_open()
            else:
                assert await caller.rest() == b""
        assert await _answers(door)
        await until(lambda: not door.connections and descriptors() == before)
        assert door.server.all_connections.unread == 0
    assert [record for record in caplog.records if record.levelno >= logging.WARNING and record.name != "app"] == []


def _check(wanted: Answer, reply: Reply) -> None:
    assert (reply.status, reply.slug) == wanted, reply
    if reply.slug is not None:
        assert reply.document["request_id"] == reply.headers["x-request-id"]
        assert reply.headers["x-content-type-options"] == "nosniff"


async def _answers(door: Door) -> bool:
    caller: RawCaller
    async with door.caller() as caller:
        await caller.send(get())
        return (await caller.reply()).status == 200
