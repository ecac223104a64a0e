"""One line for each request, and the lines about what went wrong: their fields, their levels, and no secrets."""

import io
import json
import logging
from typing import Any

import httpx
import pytest

from app.lookup.failures import AccountLocked, CredentialsRejected, LookupFailure, Overloaded, ServerError
from app.lookup.policy import CircuitBreaker
from app.telemetry.logs import configure_logs
from tests.support.platform import LOGIN, PASSWORD, SECRETS, TOKEN, FakePlatform, Received, Reply, refused, reply
from tests.support.service import service

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_logging")]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def log_into(level: str = "info", style: str = "json") -> io.StringIO:
    stream = io.StringIO()
    configure_logs(level, style, lambda: SECRETS, stream)
    return stream


def lines(stream: io.StringIO, message: str = "") -> list[dict[str, Any]]:
    """The log's entries, those with this message if one is given."""
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [entry for entry in entries if message in ("", entry["message"])]


async def test_each_request_has_one_line_that_tells_it_all(client: httpx.AsyncClient) -> None:
    stream = log_into()
    headers = {"X-Request-ID": "abc", "traceparent": TRACEPARENT}
    await client.get("/messages/82216/state", headers=headers)
    (entry,) = lines(stream, "request")
    assert entry.pop("time")
    assert 0 <= entry.pop("duration_ms") < 60_000
    assert entry == {
        "level": "info",
        "logger": "app.access",
        "message": "request",
        "request_id": "abc",
        "caller": "127.0.0.1",
        "route": "/messages/{id}/state",
        "method": "GET",
        "status": 200,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "source": "upstream",
        "entries": 1,
    }


async def test_a_batchs_line_has_its_costliest_source_and_the_entries_sent(client: httpx.AsyncClient) -> None:
    await client.get("/messages/82216/state")
    stream = log_into()
    await client.post("/messages/states", json={"ids": [82216, 1, 2]})
    await client.get("/messages/82216/state")
    assert [(entry["source"], entry["entries"]) for entry in lines(stream, "request")] == [
        ("upstream", 2),
        ("cache", 0),
    ]


@pytest.mark.parametrize(
    ("path", "slug", "route"),
    [
        ("/messages/0/state", "invalid-request", "/messages/{id}/state"),
        ("/messages/5/state", "message-not-found", "/messages/{id}/state"),
        ("/messages/82216/secret-path", "route-not-found", "unmatched"),
    ],
)
async def test_a_problem_stands_in_the_line_and_the_path_does_not(
    client: httpx.AsyncClient, path: str, slug: str, route: str
) -> None:
    stream = log_into()
    await client.get(path)
    (entry,) = lines(stream, "request")
    assert (entry["problem"], entry["route"]) == (slug, route)
    assert path not in stream.getvalue()


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)]
)
async def test_a_malformed_traceparent_is_no_trace(client: httpx.AsyncClient, traceparent: str) -> None:
    stream = log_into()
    await client.get("/livez", headers={"traceparent": traceparent})
    assert "trace_id" not in lines(stream, "request")[0]


async def test_a_line_of_text_has_the_request_id_as_well(client: httpx.AsyncClient) -> None:
    stream = log_into(style="text")
    await client.get("/livez", headers={"X-Request-ID": "abc"})
    assert "INFO    request  request_id=abc caller=127.0.0.1 route=/livez method=GET status=200" in stream.getvalue()


async def test_without_the_level_for_it_no_line_is_written(client: httpx.AsyncClient) -> None:
    stream = log_into("warning")
    await client.get("/messages/82216/state")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (Reply(status=500), ServerError, None),
        (refused("Incorrect login or password"), CredentialsRejected, "Incorrect login or password"),
        (refused("Your account is locked"), AccountLocked, "Your account is locked"),
        (refused(f"Incorrect login or password: {TOKEN}"), CredentialsRejected, None),
    ],
)
async def test_a_failed_upstream_request_is_as_loud_as_its_kind_says_and_has_the_platforms_text(
    platform: FakePlatform, answer: Reply, kind: type[LookupFailure], text: str | None
) -> None:
    platform.always = answer
    stream = log_into()
    async with service(platform) as client:
        await client.get("/messages/1/state")
    (entry,) = lines(stream, f"upstream request failed: {kind.slug}")
    assert entry["level"] == logging.getLevelName(kind.log_level).lower()
    assert entry["entries"] == 1
    assert entry["why"]
    assert entry.get("upstream_message") == text


async def test_a_failed_upstream_request_names_no_request_that_is_not_its_own(platform: FakePlatform) -> None:
    platform.always = Reply(status=500)
    stream = log_into()
    async with service(platform) as client:
        await client.get("/messages/1/state", headers={"X-Request-ID": "abc"})
    failed = lines(stream, f"upstream request failed: {ServerError.slug}")
    assert failed
    assert "request_id" not in failed[0]


async def test_an_unhandled_error_in_a_batch_names_the_requests_that_it_harmed(platform: FakePlatform) -> None:
    platform.always = ZeroDivisionError("planted")
    stream = log_into()
    async with service(platform) as client:
        answer = await client.get("/messages/1/state", headers={"X-Request-ID": "abc"})
    assert answer.status_code == 500
    (entry,) = lines(stream, "unhandled error while asking the platform")
    assert entry["request_ids"] == ["abc"]
    assert "ZeroDivisionError: planted" in entry["exception"]


async def test_a_full_queue_is_told_once(platform: FakePlatform) -> None:
    stream = log_into()
    async with service(platform, max_queued_ids=1) as client:
        for start in (1, 11, 21):
            await client.post("/messages/states", json={"ids": [start, start + 1]})
    (entry,) = lines(stream, "the queue is full: ids are refused (MAX_QUEUED_IDS)")
    assert entry["level"] == logging.getLevelName(Overloaded.log_level).lower()


def test_the_circuit_breaker_tells_when_it_opens_and_closes() -> None:
    now = 1000.0
    stream = log_into()
    circuit = CircuitBreaker(lambda: now)
    for _ in range(CircuitBreaker.LEAST_ATTEMPTS):
        circuit.end(circuit.begin(), failed=True)
    now += CircuitBreaker.OPEN_SECONDS
    circuit.end(circuit.begin(), failed=False)
    told = [(entry["level"], entry["message"].split(":")[0]) for entry in lines(stream)]
    assert told == [("error", "the circuit breaker is open"), ("info", "the circuit breaker is closed")]


def echo(request: Received) -> Reply:
    """A hostile platform repeats what it was sent."""
    return reply({"error": request.body.decode()}, 400)


@pytest.mark.parametrize(
    "answer", [None, echo, refused("Incorrect login or password"), Reply(b"x"), Reply(status=500), RuntimeError(TOKEN)]
)
@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("login", [False, True], ids=["token", "login"])
async def test_credentials_are_nowhere_in_the_log_at_level_debug(answer: Any, style: str, login: bool) -> None:
    stream = log_into("debug", style)
    settings: dict[str, Any] = {"upstream_login": LOGIN, "upstream_password": PASSWORD} if login else {}
    platform = FakePlatform({"login": LOGIN, "password": PASSWORD} if login else None)
    platform.always = answer
    async with service(platform, **settings) as client:
        await client.get("/messages/1/state")
        await client.post("/messages/states", json={"ids": [2, 3]})
    assert len(stream.getvalue().splitlines()) >= 2
    for secret in SECRETS:
        for spelling in (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]):
            assert spelling not in stream.getvalue()
