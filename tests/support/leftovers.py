"""What must not be left behind: tasks, futures and descriptors."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture(scope="module", autouse=True)
def only_new_objects() -> Iterator[None]:
    """Looking through every object for what was left behind is quick when the old ones stand aside."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def nothing_left_behind() -> AsyncIterator[None]:
    """Checks that there are afterwards no tasks, and no futures that nobody resolved, that were not there before."""
    before = _pending()
    yield
    gc.collect()
    # The event loop closes a generator that was collected half-way in a task of its own; that one ends by itself.
    for _ in range(10):
        await asyncio.sleep(0)
    assert _pending() - before == set()


def descriptors() -> int | None:
    """Open descriptors of this process; None where the system does not tell."""
    return len(os.listdir(DESCRIPTORS)) if DESCRIPTORS.exists() else None


def _pending() -> set[asyncio.Future[Any]]:
    futures = [each for each in gc.get_objects() if issubclass(type(each), asyncio.Future) and not each.done()]
    return {*futures, *asyncio.all_tasks()}
