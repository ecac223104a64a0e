"""What the platform says of one message in place of its state, from the first question to the end of a stream."""

import asyncio

import pytest

from tests.support.platform import FakePlatform, reply
from tests.support.service import assert_problem
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import WEBHOOK_TOKEN, stage

UNKNOWN = "Сообщение с таким ID не принималось"
BLOCKED = "Абонент заблокирован"
EVENTS = "/messages/states/events"


def asked_for(platform: FakePlatform, id_: int) -> int:
    """In how many requests an id was asked for."""
    return sum(id_ in request.ids for request in platform.requests)


@pytest.mark.parametrize("query", ["", "?detail=true"])
@pytest.mark.parametrize(
    ("entry", "status", "slug"),
    [
        ({"state": UNKNOWN}, 404, "message-not-found"),
        ({"error": UNKNOWN}, 404, "message-not-found"),
        ({"state": BLOCKED}, 502, "upstream-rejected"),
        ({"error": BLOCKED}, 502, "upstream-rejected"),
        ({"error": "POST data is missing"}, 502, "upstream-rejected-request"),
    ],
)
def test_an_error_text_of_one_message_is_kept_like_an_unknown_id(
    entry: dict[str, str], status: int, slug: str, query: str
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.entries[5] = entry
        async with stage(platform, not_found_ttl=3) as service:
            documents = []
            for _ in range(3):
                response = await service.client.get(f"/messages/5/state{query}")
                documents.append(assert_problem(response, status, slug))
                assert response.headers["cache-control"] == "no-store"
                await asyncio.sleep(0.9)
            assert {document["upstream_message"] for document in documents} == {next(iter(entry.values()))}
            assert asked_for(platform, 5) == 1
            # Also with the detail, of which a text has none.
            await service.client.get("/messages/5/state?detail=true")
            assert asked_for(platform, 5) == 1
            await asyncio.sleep(1)
            platform.knows(5)
            assert (await service.client.get(f"/messages/5/state{query}")).json()["state"] == "deliver"
            assert asked_for(platform, 5) == 2

    scenario()


@on_virtual_time
async def test_no_cache_asks_again_for_a_message_with_an_error_text() -> None:
    platform = FakePlatform()
    platform.knows(5, state=BLOCKED)
    async with stage(platform) as service:
        for _ in range(2):
            response = await service.client.get("/messages/5/state", headers={"Cache-Control": "no-cache"})
            assert_problem(response, 502, "upstream-rejected")
    assert asked_for(platform, 5) == 2


@on_virtual_time
async def test_in_a_batch_error_texts_are_problems_of_their_ids_alone_cached_or_not() -> None:
    platform = FakePlatform()
    platform.knows(1, 2)
    platform.knows(3, state=UNKNOWN)
    platform.knows(4, state=BLOCKED)
    async with stage(platform) as service:
        for _ in range(2):
            document = (await service.client.post("/messages/states", json={"ids": [4, 3, 2, 1]})).json()
            assert [each["id"] for each in document["states"]] == [2, 1]
            assert [(each["id"], each["status"], each["upstream_message"]) for each in document["problems"]] == [
                (4, 502, BLOCKED),
                (3, 404, UNKNOWN),
            ]
    assert len(platform.requests) == 1


@on_virtual_time
async def test_where_every_id_is_unknown_by_a_sentence_the_batch_is_still_answered_one_by_one() -> None:
    platform = FakePlatform()
    platform.knows(1, 2, state=UNKNOWN)
    async with stage(platform) as service:
        response = await service.client.post("/messages/states", json={"ids": [1, 2]})
        assert response.status_code == 200
        assert [each["status"] for each in response.json()["problems"]] == [404, 404]


@on_virtual_time
async def test_a_stream_ends_for_a_message_that_a_sentence_says_is_unknown() -> None:
    platform = FakePlatform()
    platform.knows(1, state=UNKNOWN)
    async with stage(platform) as service:
        stream = service.listen(f"{EVENTS}?id=1")
        await stream.task
        assert [(name, data.get("status")) for name, data in stream.events] == [("problem", 404), ("end", None)]
        response, seconds = await service.wait(1)
        assert_problem(response, 404, "message-not-found")
        assert seconds == 0
    assert asked_for(platform, 1) == 1


@on_virtual_time
async def test_a_stream_asks_for_a_message_with_another_sentence_no_oftener_than_the_cache_forgets_it() -> None:
    platform = FakePlatform()
    platform.knows(1, state=BLOCKED)
    async with stage(platform, not_found_ttl=60) as service:
        stream = service.listen(f"{EVENTS}?id=1")
        await asyncio.sleep(170)
        assert [(name, data["status"]) for name, data in stream.events] == [("problem", 502)]
        assert asked_for(platform, 1) == 3
        platform.knows(1, state="read")
        await stream.task
        assert [(name, data.get("state")) for name, data in stream.events[1:]] == [("state", "read"), ("end", None)]


@on_virtual_time
async def test_a_webhook_in_smpps_words_tells_nothing_new_of_what_a_poll_has_told() -> None:
    platform = FakePlatform()
    platform.knows(1, state="deliver")
    async with stage(platform) as service:
        known = await service.client.get("/messages/1/state")
        stream = service.listen(f"{EVENTS}?id=1")
        await asyncio.sleep(1)
        report = {"id_sms": "1", "time_change_state": "2021-04-26 15:15:03", "state": " DELIVRD "}
        assert (await service.webhook(report)).json() == [{"id_sms": 1}]
        await asyncio.sleep(1)
        assert [name for name, _ in stream.events] == ["state"]
        again = await service.client.get("/messages/1/state")
        assert again.json() == known.json()
        assert again.headers["etag"] == known.headers["etag"]
        registry = service.app.state.service.metrics.registry
        assert registry.get_sample_value("message_state_raw_words_total", {"word": "DELIVRD"}) == 1
        await stream.hang_up()


@on_virtual_time
async def test_a_poll_and_a_webhook_in_smpps_words_give_the_documented_one() -> None:
    platform = FakePlatform()
    platform.knows(1, state="ENROUTE")
    async with stage(platform) as service:
        assert (await service.client.get("/messages/1/state")).json()["state"] == "send"
        await service.webhook({"id_sms": "1", "time": "2021-04-26 15:15:03", "state": "Undeliv"})
        document = (await service.client.get("/messages/1/state")).json()
        assert (document["state"], document["outcome"], document["final"]) == ("not_deliver", "failed", True)
        registry = service.app.state.service.metrics.registry
        for word in ("ENROUTE", "UNDELIV"):
            assert registry.get_sample_value("message_state_raw_words_total", {"word": word}) == 1
        assert registry.get_sample_value("message_state_undocumented_states_total") == 0


@on_virtual_time
async def test_a_sentence_in_a_webhook_is_no_report() -> None:
    async with stage(FakePlatform()) as service:
        odd = {"id_sms": "1", "time": "", "state": UNKNOWN}
        assert (await service.webhook(odd, {"id_sms": "2", "time": "", "state": "new"})).json() == [{"id_sms": 2}]


SHAPES = {
    "a bare entry": '{"id_sms": "1", "time": "", "state": "deliver"}',
    "an array with a gap": '{"0": {"id_sms": "1", "time": "", "state": "deliver"}, "2": {"id_sms": "x"}}',
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES.keys())
def test_a_webhook_in_phps_shapes_is_read(body: str) -> None:
    @on_virtual_time
    async def scenario() -> None:
        async with stage(FakePlatform()) as service:
            path = f"/webhooks/message-states/{WEBHOOK_TOKEN}"
            assert (await service.client.post(path, content=body)).json() == [{"id_sms": 1}]

    scenario()


SAME = "Попытка отправки более одного одинакового запроса в течение минуты"


@on_virtual_time
async def test_ids_of_a_request_that_came_twice_are_not_asked_again_for_a_minute_and_others_are() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 10))
    platform.script.append(reply({"error": SAME}))
    async with stage(platform) as service:
        response = await service.client.post("/messages/states", json={"ids": [1, 2, 3]})
        document = assert_problem(response, 503, "upstream-throttled")
        assert document["upstream_message"] == SAME
        assert response.headers["retry-after"] == "60"
        await asyncio.sleep(20)
        for headers in ({}, {"Cache-Control": "no-cache"}):
            response = await service.client.get("/messages/2/state?detail=true", headers=headers)
            document = assert_problem(response, 503, "upstream-throttled")
            assert document["upstream_message"] == SAME
            assert response.headers["retry-after"] == "40"
        answered = (await service.client.post("/messages/states", json={"ids": [3, 4, 1, 5]})).json()
        assert [each["id"] for each in answered["states"]] == [4, 5]
        assert [each["id"] for each in answered["problems"]] == [3, 1]
        assert [request.ids for request in platform.requests] == [[1, 2, 3], [4, 5]]
        await asyncio.sleep(40)
        assert (await service.client.get("/messages/2/state")).json()["state"] == "deliver"


@on_virtual_time
async def test_an_entry_of_a_request_that_came_twice_is_not_asked_again_for_a_minute() -> None:
    platform = FakePlatform()
    platform.knows(2)
    platform.entries[1] = {"error": SAME}
    async with stage(platform) as service:
        for _ in range(2):
            assert_problem(await service.client.get("/messages/1/state"), 503, "upstream-throttled")
        assert (await service.client.get("/messages/2/state")).status_code == 200
        assert asked_for(platform, 1) == 1


@on_virtual_time
async def test_one_message_that_speaks_of_locks_and_logins_locks_nobody_out() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 10))
    for id_, text in enumerate((BLOCKED, "Database is locked", "login of the operator failed"), 10):
        platform.entries[id_] = {"error": text}
    async with stage(platform) as service:
        for ids in ([10, 11, 12], [10, 1], [11], [12]):
            response = await service.client.post("/messages/states", json={"ids": ids})
            problems = response.json().get("problems") or [response.json()]
            assert {each["status"] for each in problems} == {502}
        assert (await service.client.get("/messages/2/state")).status_code == 200


@pytest.mark.parametrize("text", ["Неверный логин или пароль", "Аккаунт заблокирован."])
def test_credentials_that_one_entry_rejects_lock_nobody_out_and_those_that_every_entry_rejects_everybody(
    text: str,
) -> None:
    @on_virtual_time
    async def scenario() -> None:
        platform = FakePlatform()
        platform.knows(1, 2, 3)
        platform.entries[4] = {"state": text}
        platform.entries[5] = {"error": text}
        async with stage(platform) as service:
            document = (await service.client.post("/messages/states", json={"ids": [1, 4]})).json()
            assert [each["id"] for each in document["states"]] == [1]
            assert (await service.client.get("/messages/2/state")).status_code == 200
            await service.client.post("/messages/states", json={"ids": [4, 5]})
            assert (await service.client.get("/messages/3/state")).status_code in (502, 503)
            assert (await service.client.get("/messages/1/state")).status_code == 200
            registry = service.app.state.service.metrics.registry
            held = {
                sample.labels["wording"]: sample.value
                for family in registry.collect()
                if family.name == "message_state_lockouts"
                for sample in family.samples
            }
            assert {wording for wording, times in held.items() if times} == {text.rstrip(".")}
            assert len(held) > 10

    scenario()


@on_virtual_time
async def test_a_500_with_an_unknown_text_is_retried_and_one_with_a_known_one_is_not() -> None:
    platform = FakePlatform()
    platform.always = reply({"error": "Internal error"}, 500)
    async with stage(platform) as service:
        assert_problem(await service.client.get("/messages/1/state"), 502, "upstream-error")
        assert len(platform.requests) == 2
        platform.always = reply({"error": "Incorrect login or password"}, 500)
        response = await service.client.get("/messages/1/state")
        assert_problem(response, 502, "upstream-credentials-rejected")
        assert response.headers["retry-after"] == "60"
        assert len(platform.requests) == 3
