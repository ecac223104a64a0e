"""What a request keeps in memory while it waits: ten thousand of them are alive at a time."""

import asyncio
import gc
from types import CoroutineType
from typing import Any

import pytest

from app.api.request_context import KEPT_KEYS
from tests.support.platform import FakePlatform
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import stage

WAITS = ["/messages/1/state?wait=25", "/messages/states/events?id=1"]


@pytest.mark.parametrize("path", WAITS)
def test_a_request_that_waits_keeps_nothing_of_the_way_to_its_route(path: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.knows(1, state="send")
        async with stage(platform) as service:
            listener = service.listen(path)
            await asyncio.sleep(1)
            assert listener.scope.keys() <= KEPT_KEYS
            assert "deferred" not in listener.scope["state"]
            waiting = {frame for frame in _frames() if "/app/api/" in frame or "/fastapi/" in frame}
            assert not {frame for frame in waiting if frame.endswith(("routing.py", "compression.py", "access.py"))}
            await listener.hang_up()

    scenario()


@on_virtual_time
async def test_a_stream_keeps_the_answers_that_all_share_and_not_its_events() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 101), state="send")
    async with stage(platform) as service:
        path = "/messages/states/events?" + "&".join(f"id={id_}" for id_ in range(1, 101))
        one, two = service.listen(path), service.listen(path)
        await asyncio.sleep(1)
        one.chunks.clear()
        two.chunks.clear()
        one.body = two.body = b""
        gc.collect()
        assert not [each for each in _bytes_in_reach() if b"event: state" in each]
        await one.hang_up()
        await two.hang_up()


def _frames() -> set[str]:
    """The files of all coroutines that wait."""
    return {each.cr_code.co_filename for each in gc.get_objects() if isinstance(each, CoroutineType)}


def _bytes_in_reach() -> list[bytes]:
    """The bytes that coroutines which wait hold in their variables, one container deep."""
    found: list[bytes] = []
    for each in gc.get_objects():
        if isinstance(each, CoroutineType) and each.cr_frame is not None and "/app/" in each.cr_code.co_filename:
            for value in each.cr_frame.f_locals.values():
                found += [one for one in (value, *_inside(value)) if isinstance(one, bytes)]
    return found


def _inside(value: Any) -> list[Any]:
    values = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
    for each in [value, *values]:
        if isinstance(each, dict):
            values += each.values()
        elif isinstance(each, list | tuple | set):
            values += each
    return values
