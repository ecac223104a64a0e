"""A failure that travels as a value keeps nothing alive: no traceback, no frame, no error before it."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from app.lookup.engine import Engine
from app.lookup.failures import (
    AccountLocked,
    CredentialsRejected,
    LookupFailure,
    ServerError,
    Throttled,
    UnknownRefusal,
    Unreachable,
)
from app.lookup.waiter import Entry
from tests.support.lookup import PlatformInMemory, ask, engine_before, hang
from tests.support.virtual_time import on_virtual_time


def platform_that(**options: Any) -> Callable[[], PlatformInMemory]:
    return lambda: PlatformInMemory(**options)


def after_another_error() -> LookupFailure:
    """As it is raised in a handler."""
    try:
        try:
            raise ConnectionResetError
        except ConnectionResetError as error:
            raise Unreachable("reset") from error
    except Unreachable as failure:
        return failure


CASES: dict[str, tuple[Callable[[], PlatformInMemory], list[int]]] = {
    "fails twice": (platform_that(failing=ServerError), [1]),
    "fails because of another error": (platform_that(failing=after_another_error), [1]),
    "fails for a batch": (platform_that(failing=Unreachable), [1, 2, 3]),
    "throttles": (platform_that(failing=Throttled), [1]),
    "does not answer": (platform_that(latency=hang), [1]),
    "rejects the credentials": (platform_that(failing=CredentialsRejected), [1]),
    "rejects the credentials for each entry": (platform_that(odd_entries={1: AccountLocked, 2: AccountLocked}), [1, 2]),
    "refuses one id": (platform_that(refuses=lambda ids: 2 in ids), [2]),
    "refuses a batch": (platform_that(refuses=lambda ids: True), [1, 2, 3, 4, 5, 6, 7]),
    "refuses a batch for one id": (platform_that(refuses=lambda ids: 2 in ids), [1, 2, 3]),
    "refuses a batch, then fails": (platform_that(script=[UnknownRefusal, *[Throttled] * 3]), [1, 2, 3]),
    "leaves ids out, then fails": (platform_that(unknown={1, 2}, script=[None, ServerError]), [1, 2]),
    "leaves ids out, then fails behind a known one": (platform_that(unknown={2}, script=[None, ServerError]), [1, 2]),
}


@pytest.mark.parametrize("name", CASES)
@on_virtual_time
async def test_an_answer_holds_neither_traceback_nor_entries_where_the_platform(name: str) -> None:
    make, ids = CASES[name]
    engine = engine_before(make())
    answers = await ask(engine, ids)
    await asyncio.sleep(30)
    failures = [each for each in answers if isinstance(each, LookupFailure)]
    assert failures
    for failure in failures:
        assert (failure.__traceback__, failure.__cause__, failure.__context__) == (None, None, None)
    assert entries_alive(engine) == []


def entries_alive(engine: Engine) -> list[Entry]:
    """The entries that anybody holds, while the engine and its answers are still there."""
    assert len(engine.queue) == 0
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is Entry]
