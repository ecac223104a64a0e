"""Poll cycles serve all who watch: no one of them gives a cycle its name, or its wishes after it has left."""

import asyncio
import logging

import pytest

from app.telemetry.logs import request_id_of_log
from tests.support.platform import FakePlatform, reply
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import stage

DETAILED = ["/messages/1/state?wait=50&detail=true", "/messages/states/events?id=1&detail=true"]


@pytest.mark.parametrize("path", DETAILED)
def test_detail_is_asked_for_only_as_long_as_somebody_waits_who_wants_it(path: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.knows(1, state="send")
        async with stage(platform) as service:
            plain = service.listen("/messages/states/events?id=1")
            await asyncio.sleep(1)
            detailed = service.listen(path)
            await asyncio.sleep(5)
            assert platform.requests[-1].entries[0]["detail"] == 1
            await detailed.hang_up()
            asked = len(platform.requests)
            await asyncio.sleep(5)
            later = [entry["detail"] for request in platform.requests[asked:] for entry in request.entries]
            assert len(later) >= 2
            assert set(later) == {0}
            await plain.hang_up()

    scenario()


@on_virtual_time
async def test_of_two_who_want_detail_the_one_who_stays_still_gets_it() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    async with stage(platform) as service:
        first, second = (service.listen(DETAILED[1]) for _ in range(2))
        await asyncio.sleep(5)
        await first.hang_up()
        asked = len(platform.requests)
        await asyncio.sleep(5)
        later = [entry["detail"] for request in platform.requests[asked:] for entry in request.entries]
        assert set(later) == {1}
        await second.hang_up()


@on_virtual_time
async def test_a_message_that_nobody_watches_any_more_is_not_asked_for_while_another_one_is() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, state="send")
    async with stage(platform) as service:
        staying = service.listen("/messages/states/events?id=1")
        leaving = service.listen("/messages/states/events?id=1&id=2")
        await asyncio.sleep(3)
        await leaving.hang_up()
        asked = len(platform.requests)
        await asyncio.sleep(10)
        assert {id_ for request in platform.requests[asked:] for id_ in request.ids} == {1}
        await staying.hang_up()


class Noting(logging.Handler):
    """Notes for which request each line is written, if for any."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.requests: list[str | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.requests.append(request_id_of_log.get())


@on_virtual_time
async def test_what_is_logged_in_a_poll_cycle_names_none_of_those_who_watch() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, 3, state="send")
    noting = Noting()
    logging.getLogger("app").addHandler(noting)
    try:
        # There is room for one id in the queue, so the stream's own question is told of; and then the platform fails.
        async with stage(platform, max_queued_ids=1) as service:
            stream = service.listen("/messages/states/events?id=1&id=2&id=3", X_Request_ID="stream")
            await asyncio.sleep(1)
            assert noting.requests == ["stream"]
            platform.always = reply("", 500)
            await asyncio.sleep(5)
            assert noting.requests[1:]
            assert set(noting.requests[1:]) == {None}
            await stream.hang_up()
    finally:
        logging.getLogger("app").removeHandler(noting)


@on_virtual_time
async def test_an_answer_from_just_before_a_poll_cycle_is_good_until_the_next_one() -> None:
    platform = FakePlatform()
    platform.knows(1, state="send")
    async with stage(platform) as service:
        stream = service.listen("/messages/states/events?id=1")
        await asyncio.sleep(1.93)
        await service.client.get("/messages/1/state", headers={"Cache-Control": "no-cache"})
        assert len(platform.requests) == 2
        await asyncio.sleep(1.97)
        assert len(platform.requests) == 2
        await asyncio.sleep(0.3)
        assert len(platform.requests) == 3
        await stream.hang_up()
