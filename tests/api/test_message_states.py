"""``POST /messages/states``, section 1 of the contract."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.requests import Request

from app.api.schemas import BatchRequest
from tests.support.platform import DOCUMENTED_REPLY, FakePlatform, Received, Reply, refused, reply
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio

PATH = "/messages/states"
MAX_ID = 2**53 - 1
MEGABYTE = 1024 * 1024


async def test_the_documented_example_stands_among_the_states(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.script.append(reply(DOCUMENTED_REPLY))
    response = await client.post(PATH, json={"ids": [82216], "detail": True})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "states": [
            {
                "id": 82216,
                "state": "deliver",
                "outcome": "delivered",
                "final": False,
                "changed_at": "2021-04-26T15:15:03+03:00",
                "parts": 1,
                "price_per_part": "10.6000000",
            }
        ],
        "problems": [],
    }


async def test_a_refusal_in_an_array_without_ids_harms_only_the_id_that_it_is_about(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    def answer(request: Received) -> Reply:
        if 3 in request.ids:
            return reply([{"error": "Incorrect JSON document format"}])
        return reply([{"id_sms": id_, "state": "read"} for id_ in request.ids])

    platform.always = answer
    body = (await client.post(PATH, json={"ids": [1, 2, 3, 4, 5, 6, 7, 8]})).json()
    assert [entry["id"] for entry in body["states"]] == [1, 2, 4, 5, 6, 7, 8]
    assert [(entry["id"], entry["type"]) for entry in body["problems"]] == [(3, "/problems/upstream-rejected-request")]


async def test_every_distinct_id_stands_in_one_list_in_the_order_of_the_request(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.knows(5, 3, 9)
    body = (await client.post(PATH, json={"ids": [9, 8, 3, 9, 4, 5, 8]})).json()
    assert [entry["id"] for entry in body["states"]] == [9, 3, 5]
    assert [entry["id"] for entry in body["problems"]] == [8, 4]
    assert body["problems"][0] == {
        "id": 8,
        "type": "/problems/message-not-found",
        "title": "Message not found",
        "status": 404,
        "detail": "The platform does not know message 8.",
    }


async def test_duplicates_are_asked_for_once(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    platform.knows(5)
    body = (await client.post(PATH, json={"ids": [5] * 1000})).json()
    assert len(body["states"]) == 1
    assert platform.requests[0].ids == [5]


async def test_detail_is_off_unless_it_is_asked_for(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    body = (await client.post(PATH, json={"ids": [82216]})).json()
    assert (body["states"][0]["parts"], body["states"][0]["price_per_part"]) == (None, None)
    assert platform.requests[0].entries[0]["detail"] == 0


async def test_one_malformed_entry_and_one_refused_one_leave_the_others_alone(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    entries = [{"id_sms": 1, "state": 5}, {"id_sms": 2, "state": "read"}, {"id_sms": 3, "error": "Archived"}]
    platform.always = reply(entries)
    response = await client.post(PATH, json={"ids": [1, 2, 3]})
    assert response.status_code == 200
    assert [entry["id"] for entry in response.json()["states"]] == [2]
    assert [(each["id"], each["type"], each["status"]) for each in response.json()["problems"]] == [
        (1, "/problems/upstream-invalid-reply", 502),
        (3, "/problems/upstream-rejected", 502),
    ]
    assert response.json()["problems"][1]["upstream_message"] == "Archived"


async def test_not_found_is_an_answer_so_a_batch_of_unknown_ids_is_a_200(client: httpx.AsyncClient) -> None:
    response = await client.post(PATH, json={"ids": [1, 2]})
    assert response.status_code == 200
    assert response.json()["states"] == []
    assert [entry["status"] for entry in response.json()["problems"]] == [404, 404]


async def test_where_nothing_could_be_answered_the_request_has_the_problem_of_the_first_id(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.always = reply([{"id_sms": 2, "error": "Second"}, {"id_sms": 1, "error": "First"}])
    document = assert_problem(await client.post(PATH, json={"ids": [1, 2]}), 502, "upstream-rejected")
    assert document["upstream_message"] == "First"


async def test_a_whole_requests_credential_failure_is_the_batches(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.always = refused("Неправильный логин или пароль.", 200)
    response = await client.post(PATH, json={"ids": [1, 2]})
    assert_problem(response, 502, "upstream-credentials-rejected")
    assert response.headers["retry-after"] == "60"


async def test_a_thousand_ids_become_requests_of_the_set_size_a_set_number_at_a_time(platform: FakePlatform) -> None:
    async def dawdle(_: Received) -> None:
        for _turn in range(20):
            await asyncio.sleep(0)

    ids = list(range(1, 1001))
    platform.knows(*ids)
    platform.before = dawdle
    async with service(platform, upstream_batch_size=30, upstream_max_in_flight=3) as client:
        body = (await client.post(PATH, json={"ids": ids})).json()
    assert [entry["id"] for entry in body["states"]] == ids
    assert all(len(request.entries) <= 30 for request in platform.requests)
    assert math.ceil(1000 / 30) <= len(platform.requests) <= math.ceil(1000 / 30) + 3
    assert sorted(id_ for request in platform.requests for id_ in request.ids) == ids
    assert platform.most_in_flight <= 3
    assert platform.violations == []


async def test_a_batch_size_of_one_never_batches(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3)
    async with service(platform, upstream_batch_size=1) as client:
        assert len((await client.post(PATH, json={"ids": [1, 2, 3]})).json()["states"]) == 3
    assert [request.ids for request in platform.requests] == [[1], [2], [3]]


async def test_ids_that_the_deadline_leaves_behind_get_a_timeout_and_the_rest_their_state(
    platform: FakePlatform,
) -> None:
    platform.knows(1)

    async def hang_for_two(request: Received) -> None:
        if 2 in request.ids:
            await asyncio.Event().wait()

    platform.before = hang_for_two
    async with service(
        platform,
        upstream_batch_size=1,
        upstream_connect_timeout=0.01,
        upstream_attempt_timeout=0.05,
        request_deadline=0.1,
    ) as client:
        body = (await client.post(PATH, json={"ids": [1, 2]})).json()
    assert [entry["id"] for entry in body["states"]] == [1]
    assert [(entry["id"], entry["status"]) for entry in body["problems"]] == [(2, 504)]


BAD_BODIES: dict[str, tuple[Any, str]] = {
    "empty list": ({"ids": []}, "/ids"),
    "too long": ({"ids": list(range(1, 1002))}, "/ids"),
    "too long even when collapsed": ({"ids": [1] * 1001}, "/ids"),
    "no ids": ({"detail": True}, "/ids"),
    "null ids": ({"ids": None}, "/ids"),
    "one id": ({"ids": 5}, "/ids"),
    "an object of ids": ({"ids": {"0": 5}}, "/ids"),
    "true": ({"ids": [1, True]}, "/ids/1"),
    "a fraction": ({"ids": [1.0]}, "/ids/0"),
    "a string": ({"ids": [1, 2, 3, "5"]}, "/ids/3"),
    "null": ({"ids": [None]}, "/ids/0"),
    "nested": ({"ids": [[1]]}, "/ids/0"),
    "zero": ({"ids": [0]}, "/ids/0"),
    "negative": ({"ids": [-1]}, "/ids/0"),
    "over the range": ({"ids": [MAX_ID + 1]}, "/ids/0"),
    "huge": ({"ids": [10**400]}, "/ids/0"),
    "NaN": ({"ids": [math.nan]}, "/ids/0"),
    "infinite": ({"ids": [math.inf]}, "/ids/0"),
    "extra key": ({"ids": [1], "wait": 5}, "/wait"),
    "extra key to escape": ({"ids": [1], "a/b~c": 5}, "/a~1b~0c"),
    "extra key with a lone surrogate": ({"ids": [1], "\ud800": 5}, ""),
    "detail as a word": ({"ids": [1], "detail": "true"}, "/detail"),
    "detail as a number": ({"ids": [1], "detail": 1}, "/detail"),
    "detail null": ({"ids": [1], "detail": None}, "/detail"),
    "a list": ([1, 2], ""),
    "a string alone": ("ids", ""),
    "null alone": (None, ""),
}


@pytest.mark.parametrize(("body", "pointer"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_body_of_another_shape_is_refused_with_a_pointer_to_the_mistake(
    client: httpx.AsyncClient, platform: FakePlatform, body: object, pointer: str
) -> None:
    response = await client.post(PATH, content=json.dumps(body), headers={"Content-Type": "application/json"})
    document = assert_problem(response, 422, "invalid-request")
    assert [error["pointer"] for error in document["errors"]] == [pointer]
    assert all(error["detail"] for error in document["errors"])
    assert platform.requests == []


MALFORMED = {
    "nothing": b"",
    "cut short": b'{"ids": [1, 2',
    "a comma too many": b'{"ids": [1,]}',
    "NUL": b'{"ids": [1]}\x00',
    "not UTF-8": b'{"ids": [1], "\xff": 2}',
    "deep nesting": b"[" * 200_000,
    "deep nesting in ids": b'{"ids": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an integer of 100,000 digits": b'{"ids": [' + b"9" * 100_000 + b"]}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    document = assert_problem(response, 422, "invalid-request")
    assert document["errors"]


async def test_a_thousand_mistakes_make_a_document_of_readable_length(client: httpx.AsyncClient) -> None:
    document = assert_problem(await client.post(PATH, json={"ids": ["x"] * 1000}), 422, "invalid-request")
    assert [error["pointer"] for error in document["errors"]] == [f"/ids/{index}" for index in range(10)]


@pytest.mark.parametrize(
    ("document", "pointers"),
    [
        ({"ids": [1], **dict.fromkeys(map(str, range(900)), 1)}, [f"/{index}" for index in range(10)]),
        ({"ids": ["x"] * 40_000}, ["/ids"]),
        ({"ids": [1], "x" * 1_000_000: 1}, ["/" + "x" * 199 + "…"]),
    ],
    ids=["unknown keys", "wrong ids", "a long key"],
)
async def test_many_mistakes_are_refused_without_looking_at_each(
    client: httpx.AsyncClient, document: dict[str, Any], pointers: list[str]
) -> None:
    with pytest.raises(ValidationError) as found:
        BatchRequest.model_validate(document)
    assert found.value.error_count() <= 10
    response = await client.post(PATH, json=document)
    errors = assert_problem(response, 422, "invalid-request")["errors"]
    assert [error["pointer"] for error in errors] == pointers
    assert len(response.content) < 4096


@pytest.mark.parametrize(
    "body",
    [
        b'{"ids":[1],' + b",".join(b'"%x":1' % number for number in range(95_000)) + b"}",
        b'{"ids":[' + b'"x",' * 260_000 + b"1]}",
        b'{"ids":[' + b"[]," * 340_000 + b"1]}",
        b'{"ids":[' + b"1.5," * 260_000 + b"1]}",
    ],
    ids=["unknown keys", "wrong ids", "lists", "fractions"],
)
async def test_a_mebibyte_of_mistakes_is_refused_unread(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    async def unread(_: Request) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(Request, "json", unread)
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    (error,) = assert_problem(response, 422, "invalid-request")["errors"]
    assert "far more parts" in error["detail"]


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/json", "text/plain", "application/x-www-form-urlencoded", "application/problem+json"],
)
async def test_another_content_type_is_refused(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    response = await client.post(PATH, content=b'{"ids": [82216]}', headers=headers)
    document = assert_problem(response, 422, "invalid-request")
    assert "application/json" in document["errors"][0]["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/json ;a=b"]
)
async def test_the_json_content_type_may_have_parameters_and_any_case(
    client: httpx.AsyncClient, content_type: str
) -> None:
    response = await client.post(PATH, content=b'{"ids": [82216]}', headers={"Content-Type": content_type})
    assert response.status_code == 200


async def _pieces(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // 65536):
        yield b" " * 65536
    yield b" " * (total % 65536)


async def test_a_body_over_a_megabyte_is_refused_with_and_without_a_declared_length(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    declared = await client.post(PATH, content=b" " * (MEGABYTE + 1), headers=headers)
    assert_problem(declared, 413, "request-too-large")
    streamed = await client.post(PATH, content=_pieces(MEGABYTE + 1), headers=headers)
    assert "content-length" not in streamed.request.headers
    assert_problem(streamed, 413, "request-too-large")


async def test_a_body_of_exactly_a_megabyte_is_read(client: httpx.AsyncClient) -> None:
    body = b'{"ids": [82216]}'.ljust(MEGABYTE)
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200


async def test_a_body_too_large_is_told_before_its_content_type_and_after_a_wrong_path(
    client: httpx.AsyncClient,
) -> None:
    large = b"x" * (MEGABYTE + 1)
    assert_problem(await client.post(PATH, content=large), 413, "request-too-large")
    assert_problem(await client.post("/nowhere", content=large), 404, "route-not-found")
    assert_problem(await client.put(PATH, content=large), 405, "method-not-allowed")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
REQUESTS = st.fixed_dictionaries(
    {"ids": st.lists(st.integers(1, 20) | JSON_VALUES, max_size=6)}, optional={"detail": JSON_VALUES}
)


@given(JSON_VALUES | REQUESTS)
async def test_no_json_makes_the_service_fail(client: httpx.AsyncClient, body: object) -> None:
    response = await client.post(PATH, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code in (200, 422)
    if response.status_code == 422:
        assert_problem(response, 422, "invalid-request")


@given(st.binary(max_size=200))
async def test_no_bytes_make_the_service_fail(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60))
async def test_states_and_problems_share_out_the_distinct_ids_in_order(
    client: httpx.AsyncClient, platform: FakePlatform, ids: list[int]
) -> None:
    platform.knows(*range(1, 31, 2))
    body = (await client.post(PATH, json={"ids": ids})).json()
    distinct = list(dict.fromkeys(ids))
    assert [entry["id"] for entry in body["states"]] == [id_ for id_ in distinct if id_ % 2]
    assert [entry["id"] for entry in body["problems"]] == [id_ for id_ in distinct if not id_ % 2]


async def test_a_platform_failure_of_one_request_leaves_the_other_requests_answers(platform: FakePlatform) -> None:
    platform.knows(1, 2, 3)

    def fail_for_two(request: Received) -> Reply:
        return reply("", 404) if 2 in request.ids else reply([{"id_sms": request.ids[0], "state": "read"}])

    platform.always = fail_for_two
    async with service(platform, upstream_batch_size=1) as client:
        body = (await client.post(PATH, json={"ids": [1, 2, 3]})).json()
    assert [entry["id"] for entry in body["states"]] == [1, 3]
    assert [(entry["id"], entry["type"]) for entry in body["problems"]] == [(2, "/problems/upstream-error")]
