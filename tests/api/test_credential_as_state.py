"""A platform that gives a credential in the place of a state: nobody is told."""

import json

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform, Reply
from tests.support.service import service

pytestmark = pytest.mark.anyio

WEBHOOK = "planted-webhook-token-77"


@pytest.mark.parametrize("word", [TOKEN, WEBHOOK])
async def test_a_state_that_is_a_credential_is_a_malformed_entry(platform: FakePlatform, word: str) -> None:
    platform.always = lambda _: Reply(json.dumps([{"id_sms": 1, "state": word}]).encode())
    async with service(platform, webhook_token=WEBHOOK) as client:
        single = await client.get("/messages/1/state")
        batch = await client.post("/messages/states", json={"ids": [1]})
        waited = await client.get("/messages/1/state?wait=1")
        delivered = await client.post(f"/webhooks/message-states/{WEBHOOK}", json=[{"id_sms": 2, "state": word}])
        after = await client.get("/messages/2/state")
    assert single.status_code == 502
    assert single.json()["type"] == "/problems/upstream-invalid-reply"
    assert delivered.json() == []
    for each in (single, batch, waited, delivered, after):
        assert word not in each.text


async def test_a_documented_word_that_is_a_login_as_well_is_passed_on() -> None:
    platform = FakePlatform({"login": "deliver", "password": "planted-password"})
    platform.knows(1, state="deliver")
    async with service(platform, upstream_login="deliver", upstream_password="planted-password") as client:
        response: httpx.Response = await client.get("/messages/1/state")
    assert response.json()["state"] == "deliver"
