"""The event loop of production."""

from typing import Any

import pytest

from tests.support.leftovers import only_new_objects

__all__ = ["only_new_objects"]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """uvloop: its sockets are what the server's protocol works with."""
    return "asyncio", {"use_uvloop": True}
