"""``GET /messages/{id}/state``, section 1 of the contract."""

import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.platform import (
    DOCUMENTED_REPLY,
    LOGIN,
    PASSWORD,
    URL,
    FakePlatform,
    Received,
    Reply,
    refused,
    reply,
)
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio

MAX_ID = 2**53 - 1
KEYS = ["id", "state", "outcome", "final", "changed_at", "parts", "price_per_part"]


async def test_the_documented_example_comes_out_as_the_contract_shows_it(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.script.append(reply(DOCUMENTED_REPLY))
    response = await client.get("/messages/82216/state", params={"detail": "true"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "id": 82216,
        "state": "deliver",
        "outcome": "delivered",
        "final": False,
        "changed_at": "2021-04-26T15:15:03+03:00",
        "parts": 1,
        "price_per_part": "10.6000000",
    }
    assert list(response.json()) == KEYS
    assert platform.requests[0].entries == [{"token": "planted-token-7f3a", "id_sms": 82216, "detail": 1}]
    assert platform.violations == []


async def test_without_detail_the_platform_is_not_asked_for_it_and_both_keys_are_null(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.script.append(reply(DOCUMENTED_REPLY))
    body = (await client.get("/messages/82216/state")).json()
    assert list(body) == KEYS
    assert (body["parts"], body["price_per_part"]) == (None, None)
    assert platform.requests[0].entries[0]["detail"] == 0


async def test_login_and_password_travel_instead_of_a_token() -> None:
    platform = FakePlatform({"login": LOGIN, "password": PASSWORD})
    platform.knows(82216)
    async with service(platform, upstream_login=LOGIN, upstream_password=PASSWORD) as client:
        assert (await client.get("/messages/82216/state")).status_code == 200
    assert platform.violations == []


@pytest.mark.parametrize(
    ("state", "outcome", "final"),
    [
        ("send", "pending", False),
        ("partly_deliver", "pending", False),
        ("deliver", "delivered", False),
        ("read", "delivered", True),
        ("not_deliver", "failed", True),
        ("expired", "failed", True),
        ("delayed", "unknown", False),
    ],
)
async def test_every_state_has_its_outcome_and_finality(
    client: httpx.AsyncClient, platform: FakePlatform, state: str, outcome: str, final: bool
) -> None:
    platform.knows(7, state=state)
    body = (await client.get("/messages/7/state")).json()
    assert (body["state"], body["outcome"], body["final"]) == (state, outcome, final)


@pytest.mark.parametrize(
    ("zone", "time", "changed_at"),
    [
        ("Europe/Moscow", "2021-04-26 15:15:03", "2021-04-26T15:15:03+03:00"),
        ("UTC", "2021-04-26 15:15:03", "2021-04-26T15:15:03+00:00"),
        ("Asia/Kolkata", "2021-04-26 15:15:03", "2021-04-26T15:15:03+05:30"),
        ("America/New_York", "2021-01-01 00:00:00", "2021-01-01T00:00:00-05:00"),
        ("Europe/Berlin", "2021-10-31 02:30:00", "2021-10-31T02:30:00+02:00"),
        ("Europe/Moscow", "", None),
        ("Europe/Moscow", None, None),
        ("Europe/Moscow", "0000-00-00 00:00:00", None),
        ("Europe/Moscow", "yesterday", None),
    ],
)
async def test_times_carry_the_offset_of_the_accounts_zone(
    platform: FakePlatform, zone: str, time: str | None, changed_at: str | None
) -> None:
    platform.knows(7, time_change_state=time)
    async with service(platform, upstream_timezone=zone) as client:
        assert (await client.get("/messages/7/state")).json()["changed_at"] == changed_at


async def test_the_tag_may_stand_in_any_line_of_if_none_match(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.knows(7)
    tag = (await client.get("/messages/7/state")).headers["etag"]
    lines = [("If-None-Match", '"another"'), ("If-None-Match", f"W/{tag}")]
    assert (await client.get("/messages/7/state", headers=lines)).status_code == 304
    assert (await client.get("/messages/7/state?wait=1", headers=lines)).status_code == 304


@pytest.mark.parametrize("id_", [1, 9, 10, 82216, MAX_ID])
async def test_every_id_of_the_range_is_asked_for_as_an_integer(
    client: httpx.AsyncClient, platform: FakePlatform, id_: int
) -> None:
    platform.knows(id_)
    response = await client.get(f"/messages/{id_}/state")
    assert response.json()["id"] == id_
    assert platform.requests[0].ids == [id_]


BAD_IDS = {
    "zero": "0",
    "leading zero": "082216",
    "minus": "-5",
    "plus": "+5",
    "plus escaped": "%2B5",
    "one over the range": str(MAX_ID + 1),
    "digits without end": "9" * 5000,
    "fraction": "1.0",
    "exponent": "1e3",
    "underscore": "1_000",
    "blank": "%20",
    "blank before": "%205",
    "line end after": "5%0A",
    "NUL": "%00",
    "NUL after": "5%00",
    "Arabic-Indic digits": "%D9%A1%D9%A2",
    "fullwidth digits": "%EF%BC%95",
    "superscript": "%C2%B2",
    "not UTF-8": "%FF",
    "word": "abc",
    "hexadecimal": "0x10",
}


@pytest.mark.parametrize("path", BAD_IDS.values(), ids=BAD_IDS.keys())
async def test_what_is_not_an_id_is_refused_before_the_platform_is_asked(
    client: httpx.AsyncClient, platform: FakePlatform, path: str
) -> None:
    document = assert_problem(await client.get(f"/messages/{path}/state"), 422, "invalid-request")
    assert [error["parameter"] for error in document["errors"]] == ["id"]
    assert platform.requests == []


@pytest.mark.parametrize("value", ["maybe", "2", "%00", "true%20false", "null"])
async def test_a_detail_that_is_not_a_boolean_is_refused(client: httpx.AsyncClient, value: str) -> None:
    document = assert_problem(await client.get(f"/messages/1/state?detail={value}"), 422, "invalid-request")
    assert [error["parameter"] for error in document["errors"]] == ["detail"]


async def test_unknown_query_parameters_are_ignored(client: httpx.AsyncClient) -> None:
    response = await client.get("/messages/82216/state?colour=blue&ids=1&detail=false")
    assert response.status_code == 200
    assert response.json()["parts"] is None


@given(st.text(min_size=1, max_size=30))
async def test_no_text_in_the_place_of_an_id_makes_the_service_fail(client: httpx.AsyncClient, text: str) -> None:
    path = "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
    response = await client.get(f"/messages/{path}/state")
    is_id = text.isascii() and text.isdigit() and text[0] != "0" and int(text) <= MAX_ID
    assert response.status_code in ((200, 404) if is_id else (404, 422))


@given(st.integers(min_value=1, max_value=MAX_ID))
async def test_every_id_of_the_range_is_accepted(client: httpx.AsyncClient, id_: int) -> None:
    if id_ != 82216:
        document = assert_problem(await client.get(f"/messages/{id_}/state"), 404, "message-not-found")
        assert str(id_) in document["detail"]


FAILURES: dict[str, tuple[Reply | Exception, int, str, str | None]] = {
    "left out": (reply([]), 404, "message-not-found", None),
    "without state or error": (reply([{"id_sms": 5}]), 404, "message-not-found", None),
    "wrong login": (refused("Incorrect login or password"), 502, "upstream-credentials-rejected", "60"),
    "wrong login in the entry": (
        reply([{"id_sms": 5, "error": "Incorrect login or password."}]), 502, "upstream-credentials-rejected", "60",
    ),
    "locked": (refused("Your account is locked"), 503, "upstream-account-locked", "300"),
    "format": (refused("Incorrect JSON document format"), 502, "upstream-rejected-request", None),
    "no data": (refused("POST data is missing"), 502, "upstream-rejected-request", None),
    "new text": (refused("The archive is being rebuilt"), 502, "upstream-rejected", None),
    "400 without JSON": (reply("<h1>Bad Request</h1>", 400), 502, "upstream-rejected", None),
    "redirect": (reply("", 302, location="http://127.0.0.1:9/"), 502, "upstream-error", None),
    "403": (reply("", 403), 502, "upstream-error", None),
    "401": (reply("", 401), 502, "upstream-credentials-rejected", "60"),
    "404": (reply("", 404), 502, "upstream-error", None),
    "500": (reply("<h1>Oops</h1>", 500), 502, "upstream-error", None),
    "503": (reply("", 503), 502, "upstream-error", None),
    "429": (reply("", 429, retry_after="7"), 503, "upstream-throttled", "7"),
    "429 without time": (reply("", 429), 503, "upstream-throttled", "1"),
    "429 for a day": (reply("", 429, retry_after="86400"), 503, "upstream-throttled", "60"),
    "empty": (reply(""), 502, "upstream-rejected", None),
    "null": (reply("null"), 502, "upstream-rejected", None),
    "an unknown id's sentence": (
        reply([{"id_sms": 5, "state": "Сообщение с таким ID не принималось"}]), 404, "message-not-found", None,
    ),
    "another sentence": (reply([{"id_sms": 5, "state": "Абонент заблокирован"}]), 502, "upstream-rejected", None),
    "the same request twice": (
        refused("Попытка отправки более одного одинакового запроса в течение минуты"), 503, "upstream-throttled", "60",
    ),
    "HTML": (reply("<html>maintenance</html>"), 502, "upstream-invalid-reply", None),
    "an object": (reply({"states": []}), 502, "upstream-invalid-reply", None),
    "malformed entry": (reply([{"id_sms": 5, "state": ["deliver"]}]), 502, "upstream-invalid-reply", None),
    "refused connection": (httpx.ConnectError("refused"), 502, "upstream-unreachable", None),
    "timeout": (httpx.ReadTimeout("slow"), 504, "upstream-timeout", None),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "status", "slug", "retry_after"), FAILURES.values(), ids=FAILURES.keys())
async def test_every_failure_of_the_platform_has_its_problem(
    client: httpx.AsyncClient,
    platform: FakePlatform,
    answer: Reply | Exception,
    status: int,
    slug: str,
    retry_after: str | None,
) -> None:
    platform.always = answer
    response = await client.get("/messages/5/state")
    assert_problem(response, status, slug)
    assert response.headers.get("retry-after") == retry_after
    assert response.headers["cache-control"] == "no-store"


async def test_the_platforms_own_words_reach_the_caller(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    platform.always = refused("The archive\x00 is\r\n being rebuilt " + "я" * 300)
    document = assert_problem(await client.get("/messages/5/state"), 502, "upstream-rejected")
    assert document["upstream_message"].startswith("The archive is being rebuilt яяя")
    assert len(document["upstream_message"]) == 200


async def test_a_platform_text_with_a_credential_in_it_is_withheld(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.always = refused("no such key: planted-token-7f3a")
    response = await client.get("/messages/5/state")
    assert "upstream_message" not in assert_problem(response, 502, "upstream-rejected")
    assert "planted" not in response.text


async def test_a_platform_that_hangs_ends_in_a_timeout_problem(platform: FakePlatform) -> None:
    platform.always = Reply(hang=True)
    async with service(
        platform, upstream_connect_timeout=0.01, upstream_attempt_timeout=0.02, request_deadline=0.1
    ) as client:
        assert_problem(await client.get("/messages/5/state"), 504, "upstream-timeout")


async def test_the_deadline_ends_a_request_that_waits_for_its_turn(platform: FakePlatform) -> None:
    platform.always = Reply(hang=True)
    async with service(
        platform, upstream_connect_timeout=0.01, upstream_attempt_timeout=0.05, request_deadline=0.05
    ) as client:
        assert_problem(await client.get("/messages/5/state"), 504, "upstream-timeout")


async def test_a_crash_shows_nothing_of_the_inside(platform: FakePlatform, caplog: pytest.LogCaptureFixture) -> None:
    platform.always = RuntimeError("inner detail 4711")
    async with service(platform) as client:
        response = await client.get("/messages/5/state", headers={"X-Request-ID": "crash-1"})
    document = assert_problem(response, 500, "internal-error")
    assert document["request_id"] == "crash-1"
    assert "4711" not in response.text
    assert "RuntimeError" not in response.text
    assert "inner detail 4711" in caplog.text


async def test_what_comes_out_is_json_in_utf_8_whatever_the_platform_says(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.knows(7, state="не доставлено ✓")
    response = await client.get("/messages/7/state")
    assert json.loads(response.content.decode("utf-8"))["upstream_message"] == "не доставлено ✓"


async def test_the_request_is_exactly_the_documented_one(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    await client.get("/messages/82216/state", headers={"Cookie": "a=b", "Authorization": "Bearer x"})
    sent: Received = platform.requests[0]
    assert (sent.method, f"http://platform.test{sent.path}") == ("POST", URL)
    assert sent.headers["content-type"] == "text/json; charset=utf-8"
    assert sent.headers["accept-encoding"] == "identity"
    assert "cookie" not in sent.headers
    assert "authorization" not in sent.headers
