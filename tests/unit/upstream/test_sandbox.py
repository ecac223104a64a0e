"""The stand-in for the platform: as strict as state.php, with answers that follow from the message's number."""

import json
import sys
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import uvicorn

from app.upstream import sandbox
from app.upstream.sandbox import BY_LAST_DIGIT, ENTRY_FAILURES, FAILURES, LOGIN, PASSWORD, TOKEN, URL, Sandbox, rules
from tests.support.platform import TOKEN as SERVICES_TOKEN
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio

TYPE = {"Content-Type": "text/json; charset=utf-8"}


async def post(app: Sandbox, content: bytes, headers: dict[str, str] = TYPE, **request: Any) -> httpx.Response:
    """One request to a sandbox."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.request(
            request.get("method", "POST"), request.get("url", URL), content=content, headers=headers
        )


def asking(*ids: int, **more: object) -> bytes:
    """A correct request's body."""
    return json.dumps([{"token": TOKEN, "id_sms": id_, "detail": 1, **more} for id_ in ids]).encode()


async def test_the_documented_message_is_answered_as_documented() -> None:
    response = await post(Sandbox(), asking(82216))
    assert response.status_code == 200
    assert response.text == (
        '[{"id_sms":82216,"time_change_state":"2021-04-26 15:15:03","state":"deliver",'
        '"num_parts":1,"price":10.6000000}]'
    )
    assert response.headers["content-type"].startswith("text/html")


async def test_login_and_password_are_accepted_and_detail_is_left_out_unless_asked_for() -> None:
    body = json.dumps([{"login": LOGIN, "password": PASSWORD, "id_sms": 82216, "detail": 0}]).encode()
    assert (await post(Sandbox(), body)).json() == [
        {"id_sms": 82216, "time_change_state": "2021-04-26 15:15:03", "state": "deliver"}
    ]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"content": b""}, "POST data is missing"),
        ({"content": b"[]", "method": "GET"}, "POST data is missing"),
        ({"headers": {"Content-Type": "application/json"}}, "Incorrect JSON document format"),
        ({"headers": {"Content-Type": "text/json"}}, "Incorrect JSON document format"),
        ({"content": b"[{"}, "Incorrect JSON document format"),
        ({"content": b"\xff"}, "Incorrect JSON document format"),
        ({"content": b"{}"}, "Incorrect JSON document format"),
        ({"content": b"[]"}, "Incorrect JSON document format"),
        ({"content": b"[5]"}, "Incorrect JSON document format"),
        ({"content": asking(1, id_sms="1")}, "Incorrect JSON document format"),
        ({"content": asking(1, id_sms=True)}, "Incorrect JSON document format"),
        ({"content": asking(1, detail=True)}, "Incorrect JSON document format"),
        ({"content": asking(1, detail=2)}, "Incorrect JSON document format"),
        ({"content": asking(1, token="wrong")}, "Incorrect login or password"),
        ({"content": asking(1, login=LOGIN)}, "Incorrect login or password"),
        ({"content": b'[{"id_sms":1,"detail":0}]'}, "Incorrect login or password"),
    ],
)
async def test_what_is_not_the_documented_request_gets_the_documented_400(request_: dict[str, Any], text: str) -> None:
    response = await post(Sandbox(), **({"content": asking(1)} | request_))
    assert (response.status_code, response.json()) == (400, {"error": text})


async def test_another_path_is_not_found_and_other_protocols_are_left_alone() -> None:
    app = Sandbox()
    assert (await post(app, b"", url="http://sandbox/")).status_code == 404
    await app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]  # it touches neither
    assert app.requests == 0


async def test_the_last_digit_decides_what_a_message_answers() -> None:
    response = await post(Sandbox(), asking(*range(1000, 1010)))
    states = {int(entry["id_sms"]) % 10: entry["state"] for entry in response.json()}
    assert states == {digit: state for digit, (state, _) in enumerate(BY_LAST_DIGIT) if state is not None}
    odd = response.json()[-1]
    assert odd == {
        "id_sms": "1009",
        "time_change_state": "0000-00-00 00:00:00",
        "state": "deliver",
        "num_parts": "1",
        "price": "10,60",
    }


async def test_a_message_that_ends_in_7_makes_progress() -> None:
    now = 100.0
    app = Sandbox(clock=lambda: now)
    seen = []
    for now in (100.0, 109.9, 110.0, 129.9, 130.0, 1000.0):
        (entry,) = (await post(app, asking(1007))).json()
        seen.append(entry["state"])
        if entry["state"] == "send":
            assert entry["time_change_state"] == ""
        else:
            zone = ZoneInfo("Europe/Moscow")
            changed = datetime.strptime(entry["time_change_state"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=zone)
            since = now - (110 if entry["state"] == "deliver" else 130)
            assert abs(datetime.now(zone) - changed - timedelta(seconds=since)) < timedelta(seconds=10)
    assert seen == ["send", "send", "deliver", "deliver", "read", "read"]


async def test_only_so_many_messages_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "REMEMBERED", 2)
    now = 0.0
    app = Sandbox(clock=lambda: now)
    await post(app, asking(17, 27, 37))
    now = 10.0
    states = {entry["id_sms"]: entry["state"] for entry in (await post(app, asking(37, 17))).json()}
    assert states == {17: "send", 37: "deliver"}


@pytest.mark.parametrize("id_", [id_ for id_ in FAILURES if id_ != 504])
async def test_a_failing_number_fails_the_whole_request(id_: int) -> None:
    response = await post(Sandbox(), asking(82216, id_))
    assert (response.status_code, response.text) == (FAILURES[id_].status, FAILURES[id_].body)


PUBLIC = {
    204: (502, "upstream-rejected"),
    404: (404, "message-not-found"),
    423: (502, "upstream-rejected"),
    425: (503, "upstream-throttled"),
    302: (502, "upstream-error"),
    400: (502, "upstream-rejected-request"),
    401: (502, "upstream-credentials-rejected"),
    403: (503, "upstream-account-locked"),
    409: (502, "upstream-rejected"),
    418: (502, "upstream-rejected"),
    422: (502, "upstream-invalid-reply"),
    429: (503, "upstream-throttled"),
    500: (502, "upstream-error"),
    502: (502, "upstream-invalid-reply"),
    504: (504, "upstream-timeout"),
}


def test_every_failing_number_is_tried_through_the_service() -> None:
    assert PUBLIC.keys() == FAILURES.keys() | ENTRY_FAILURES.keys()


@pytest.mark.parametrize(("id_", "problem"), PUBLIC.items())
async def test_a_failing_number_shows_its_problem_through_the_service(id_: int, problem: tuple[int, str]) -> None:
    limits: dict[str, Any] = {
        "upstream_connect_timeout": 0.05,
        "upstream_attempt_timeout": 0.05,
        "request_deadline": 0.2,
    }
    async with service(transport=None, **(limits if id_ == 504 else {})) as client:
        response = await client.get(f"/messages/{id_}/state")
    assert_problem(response, *problem)
    if id_ in {425, 429}:
        assert response.headers["retry-after"] == {425: "60", 429: "3"}[id_]


async def test_the_neighbours_of_a_bad_entry_are_answered(sandboxed: httpx.AsyncClient) -> None:
    body = (await sandboxed.post("/messages/states", json={"ids": [409, 82216, 422, 8]})).json()
    assert [entry["id"] for entry in body["states"]] == [82216]
    assert [(entry["id"], entry["status"]) for entry in body["problems"]] == [(409, 502), (422, 502), (8, 404)]


async def test_the_number_that_empties_the_reply_harms_nobody_else(sandboxed: httpx.AsyncClient) -> None:
    ids = [204, *range(10002, 11002, 10)]
    body = (await sandboxed.post("/messages/states", json={"ids": ids})).json()
    assert [entry["id"] for entry in body["states"]] == ids[1:]
    assert [(entry["id"], entry["status"]) for entry in body["problems"]] == [(204, 502)]


@pytest.mark.parametrize("mode", sandbox.MODES)
async def test_in_every_mode_the_service_gives_the_same_answers(mode: str) -> None:
    answers = []
    for each in ("documented", mode):
        async with service(transport=httpx.ASGITransport(Sandbox(mode=each, token=SERVICES_TOKEN))) as client:
            single = await client.get("/messages/82216/state?detail=true")
            unknown = await client.get("/messages/82218/state")
            batch = await client.post("/messages/states", json={"ids": [1008, *range(1000, 1010)], "detail": True})
            answers.append([single.json(), unknown.status_code, batch.json()])
    assert answers[0] == answers[1]


async def test_the_modes_write_what_was_seen() -> None:
    smpp = (await post(Sandbox(mode="smpp"), asking(1000, 1003, 1004, 1006))).json()
    assert [entry["state"] for entry in smpp] == ["ENROUTE", "UNDELIV", "EXPIRED", "DELIVRD"]
    assert (await post(Sandbox(mode="php"), asking(1002))).json()["state"] == "read"
    assert (await post(Sandbox(mode="php"), asking(1002, 1008, 1006))).json().keys() == {"0", "2"}
    assert (await post(Sandbox(mode="php"), asking(1008))).text == "{}"
    assert "time" in (await post(Sandbox(mode="php"), asking(1002, 1006))).json()[0]
    assert (await post(Sandbox(mode="encoding"), asking(1002))).headers["content-encoding"] == "utf-8"


async def test_it_refuses_everybody_with_a_text_of_ones_own() -> None:
    response = await post(Sandbox(refuse=("Неверный логин или пароль", 403)), asking(82216))
    assert (response.status_code, response.json()) == (403, {"error": "Неверный логин или пароль"})


async def test_the_sandbox_in_process_gives_the_documented_example(sandboxed: httpx.AsyncClient) -> None:
    assert (await sandboxed.get("/messages/82216/state?detail=true")).json() == {
        "id": 82216,
        "state": "deliver",
        "outcome": "delivered",
        "final": False,
        "changed_at": "2021-04-26T15:15:03+03:00",
        "parts": 1,
        "price_per_part": "10.6000000",
    }


async def test_a_failing_sandbox_number_of_a_slow_sandbox_waits_for_its_latency() -> None:
    app = Sandbox(latency=0.001, workers=1)
    assert (await post(app, asking(82216))).status_code == 200
    assert (app.requests, app.entries) == (1, 1)


def test_every_rule_is_in_the_table_of_rules() -> None:
    listed = dict(rules())
    assert len(listed) == len(rules()) == 10 + len(FAILURES) + len(ENTRY_FAILURES)
    assert all(listed.values())


def test_alone_it_serves_with_the_options_given(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[tuple[Sandbox, dict[str, Any]]] = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: served.append((app, options)))
    monkeypatch.setattr(
        sys,
        "argv",
        ["sandbox", "--port", "9199", "--latency", "0.5", "--workers", "3", "--token", "t", "--refuse", "No."],
    )
    sandbox.main()
    assert isinstance(served[0][0], Sandbox)
    assert (served[0][1]["host"], served[0][1]["port"]) == ("127.0.0.1", 9199)
