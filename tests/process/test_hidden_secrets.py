"""A secret that came into force while a real process serves is as hidden as the one it was started with."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.platform import FakePlatform, Received
from tests.support.running import running

pytestmark = pytest.mark.anyio

OLD, NEW = "planted-old-token-91c4", "planted-new-token-5e0b"


async def test_a_rotated_secret_is_hidden_in_the_log_and_a_blank_variable_does_not_keep_it_from_rotating(
    tmp_path: Path,
) -> None:
    platform = FakePlatform({"token": OLD})

    async def repeat_the_token(request: Received) -> None:
        # Nobody is told of it, neither the caller nor the log.
        for entry in request.entries:
            platform.knows(entry["id_sms"], state=entry["token"])

    platform.before = repeat_the_token
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "UPSTREAM_TOKEN").write_text(OLD)
    async with platform.serve() as url:
        variables = {"UPSTREAM_URL": url, "UPSTREAM_TOKEN": " ", "SECRETS_DIR": str(secrets), "LOG_LEVEL": "debug"}
        async with (
            running(variables, tmp_path) as service,
            httpx.AsyncClient(trust_env=False, base_url=service.url) as client,
        ):
            old = await client.get("/messages/1/state")
            assert old.json()["type"] == "/problems/upstream-invalid-reply"
            # The platform rejects the old one, so the file is read anew at once.
            (secrets / "UPSTREAM_TOKEN").write_text(NEW)
            platform.credentials = {"token": NEW}
            new = await client.get("/messages/2/state")
            assert new.json()["type"] == "/problems/upstream-invalid-reply"
            # A caller's request id may be anything, and the log has it: only the log's own filter stands between.
            for token in (OLD, NEW):
                named = await client.get("/livez", headers={"X-Request-ID": f"{token}.id"})
                assert named.headers["X-Request-ID"] == f"{token}.id"
            async with asyncio.timeout(20):
                while service.text.count("[redacted].id") < 2:
                    await asyncio.sleep(0.01)
    for token in (OLD, NEW):
        assert token not in service.text + old.text + new.text
