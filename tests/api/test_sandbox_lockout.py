"""With the sandbox a lock-out is over soon, so that whoever tries it can go on trying."""

import pytest

from tests.support.lookup import Now
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("id_", "status", "slug"), [(401, 502, "upstream-credentials-rejected"), (403, 503, "upstream-account-locked")]
)
async def test_a_lockout_of_the_sandbox_lasts_3_seconds_and_does_not_double(id_: int, status: int, slug: str) -> None:
    clock = Now()
    async with service(clock=clock) as client:
        for _ in range(3):
            first = await client.get(f"/messages/{id_}/state")
            assert_problem(first, status, slug)
            assert first.headers["retry-after"] == "3"
            assert_problem(await client.get("/messages/82216/state"), status, slug)
            clock.seconds += 3.1
        assert (await client.get("/messages/82216/state")).status_code == 200
