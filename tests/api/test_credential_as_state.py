"""A platform that gives a credential where nobody expects one, as in the place of a state: nobody is told."""

import json

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform, Reply, refused
from tests.support.service import service

pytestmark = pytest.mark.anyio

WEBHOOK = "planted-webhook-token-77"
ACCOUNT, KEYWORD = "our-shop-5c1d", "s3cr3t-keyword-e07b"


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


@pytest.mark.parametrize("secret", [ACCOUNT, KEYWORD])
async def test_the_login_and_password_beside_a_token_are_as_hidden_although_nobody_sends_them(secret: str) -> None:
    """The platform knows its account, whichever way it is asked. (These begin with other characters than the token.)"""
    platform = FakePlatform()
    platform.script.append(refused(f"the account of {secret} has no such service"))
    platform.entries[2] = {"state": secret}
    async with service(platform, upstream_token=TOKEN, upstream_login=ACCOUNT, upstream_password=KEYWORD) as client:
        refusal = await client.get("/messages/1/state")
        state = await client.get("/messages/2/state")
    assert refusal.json()["type"] == "/problems/upstream-rejected"
    assert state.json()["type"] == "/problems/upstream-invalid-reply"
    for each in (refusal, state):
        assert secret not in each.text
