"""The request that meets a rejection finds the newer secret that lies there already, whatever the rejection says."""

from pathlib import Path

import pytest

from tests.support.platform import FakePlatform, refused
from tests.support.service import secrets_in, service

pytestmark = pytest.mark.anyio

OLD, NEW = "planted-old-token-91c4", "planted-new-token-5e0b"


@pytest.mark.parametrize("text", ["Incorrect login or password", "Your account is locked"])
async def test_a_newer_secret_is_used_within_the_request_that_was_rejected(tmp_path: Path, text: str) -> None:
    platform = FakePlatform({"token": NEW})
    platform.also_accepted = {"token": OLD}
    platform.knows(1)
    platform.script.append(refused(text))
    (tmp_path / "UPSTREAM_TOKEN").write_text(NEW)
    secrets = secrets_in(tmp_path, "upstream_token", upstream_token=OLD)
    async with service(platform, secrets=secrets) as client:
        assert (await client.get("/messages/1/state")).status_code == 200
    assert [request.entries[0]["token"] for request in platform.requests] == [OLD, NEW]


@pytest.mark.parametrize(("text", "status"), [("Incorrect login or password", 502), ("Your account is locked", 503)])
async def test_without_a_newer_secret_nothing_is_tried_again(tmp_path: Path, text: str, status: int) -> None:
    platform = FakePlatform({"token": OLD})
    platform.knows(1)
    platform.script.append(refused(text))
    secrets = secrets_in(tmp_path, "upstream_token", upstream_token=OLD)
    async with service(platform, secrets=secrets) as client:
        assert [(await client.get("/messages/1/state")).status_code for _ in range(3)] == [status] * 3
    assert len(platform.requests) == 1
