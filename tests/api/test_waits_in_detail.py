"""Who waits for detail gets it or waits on, and what a wait's answer says of where it came from."""

import asyncio
import io
import json

import httpx
import pytest

from app.telemetry.logs import configure_logs
from tests.support.platform import FakePlatform, refused
from tests.support.service import assert_problem, service
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import WEBHOOK, Stage, stage

READ = {"id_sms": "1", "time": "2021-04-26 15:15:03", "state": "read"}
STREAM, WAIT = "/messages/states/events?id=1&detail=true", "/messages/1/state?wait=50&detail=true"


def pending() -> FakePlatform:
    """A platform that cannot yet tell parts and price of a message; known ones would be kept with a report."""
    platform = FakePlatform()
    platform.knows(1, state="send", num_parts=None, price=None)
    return platform


async def at_once(service: Stage, path: str) -> httpx.Response:
    """An answer that takes no time."""
    begun = loop().time()
    answer = await service.client.get(path)
    assert loop().time() == begun
    return answer


@on_virtual_time
async def test_a_wait_for_detail_that_the_webhook_ends_has_it_at_once() -> None:
    platform = pending()
    async with stage(platform, pending_ttl=30) as service:
        begun = loop().time()
        wait = asyncio.create_task(service.client.get(WAIT))
        await asyncio.sleep(1)
        platform.knows(1, state="read")
        await service.webhook(READ)
        answer = (await wait).json()
        assert (answer["state"], answer["parts"]) == ("read", 1)
        assert loop().time() == begun + 1


@on_virtual_time
async def test_while_the_detail_cannot_be_had_who_wants_it_waits_on_and_is_told_no_half_of_it() -> None:
    platform = pending()
    async with stage(platform) as service:
        stream, wait = service.listen(STREAM), service.listen(WAIT)
        await asyncio.sleep(1)
        platform.always = httpx.ConnectError("refused")
        await service.webhook(READ)
        await asyncio.sleep(3)
        assert [(name, data["state"]) for name, data in stream.events] == [("state", "send")]
        assert not stream.task.done()
        assert not wait.task.done()
        platform.always = None
        platform.knows(1, state="read")
        await asyncio.gather(stream.task, wait.task)
        *_, told, end = stream.events
        assert (told[0], told[1]["state"], told[1]["parts"], end[0]) == ("state", "read", 1, "end")
        assert (json.loads(wait.body)["state"], json.loads(wait.body)["parts"]) == ("read", 1)


@on_virtual_time
async def test_under_rejected_credentials_a_state_that_is_known_and_waited_for_is_the_answer() -> None:
    platform = FakePlatform()
    platform.knows(1)
    async with stage(platform, delivered_ttl=4, delivered_ttl_max=4) as service:
        stream = service.listen("/messages/states/events?id=1")
        await asyncio.sleep(1)
        etag = (await service.client.get("/messages/1/state")).headers["etag"]
        platform.always = refused("Incorrect login or password")
        await asyncio.sleep(5)
        answer = await at_once(service, "/messages/1/state?wait=25")
        assert (answer.status_code, answer.json()["state"]) == (200, "deliver")
        same, _ = await service.wait(1, If_None_Match=etag)
        assert_problem(same, 502, "upstream-credentials-rejected")
        await stream.hang_up()


@pytest.mark.usefixtures("own_logging")
def test_a_wait_says_whether_its_answer_was_known_before_and_its_log_line_where_it_looked() -> None:
    log = io.StringIO()
    configure_logs("info", "json", tuple, log)

    @on_virtual_time
    async def scenario() -> None:
        platform = pending()
        async with stage(platform) as service:
            etag = (await service.client.get("/messages/1/state")).headers["etag"]
            wait = asyncio.create_task(service.wait(1, If_None_Match=etag))
            await asyncio.sleep(1)
            platform.knows(1)
            assert (await wait)[0].headers["cache-status"] == "message-state; fwd=miss"
            known = await at_once(service, "/messages/1/state?wait=25")
            assert known.headers["cache-status"] == "message-state; hit"

    scenario()
    entries = [json.loads(line) for line in log.getvalue().splitlines()]
    waits = [entry for entry in entries if entry.get("route", "").endswith("?wait")]
    assert [(entry["source"], entry["entries"]) for entry in waits] == [("cache", 0), ("cache", 0)]


@on_virtual_time
async def test_what_the_platform_is_answered_is_kept_by_nobody() -> None:
    async with stage(pending()) as service:
        assert (await service.client.post(WEBHOOK, json=[READ])).headers["cache-control"] == "no-store"


@pytest.mark.anyio
@pytest.mark.usefixtures("own_logging")
async def test_the_log_line_of_a_caller_without_a_key_names_its_address_behind_trusted_proxies() -> None:
    log = io.StringIO()
    configure_logs("info", "json", tuple, log)
    async with service(api_keys="shop:planted-key-4be1f0", trusted_proxies="127.0.0.0/8") as client:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        assert_problem(await client.get("/messages/1/state", headers=headers), 401, "unauthenticated")
    (entry,) = [entry for entry in map(json.loads, log.getvalue().splitlines()) if entry["message"] == "request"]
    assert (entry["status"], entry["caller"]) == (401, "203.0.113.7")
