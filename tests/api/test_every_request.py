"""What holds for every request: ids, unknown paths, wrong methods, the order of checks, probes, the way to the docs."""

import asyncio

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.api.access_log import AccessLog
from app.api.health import Lifecycle
from app.api.request_context import EveryRequest, RequestContext
from app.main import create_app
from app.telemetry.metrics import Metrics
from tests.support.platform import FakePlatform
from tests.support.service import assert_problem, service, settings_for

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "path", ["/nowhere", "/messages", "/messages/", "/messages/5", "/favicon.ico", "/problems", "/%00", "/%FF"]
)
async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    document = assert_problem(await client.get(path), 404, "route-not-found")
    assert document["instance"].isascii()


@pytest.mark.parametrize(
    "path",
    [
        "/messages/5/state/",
        "/messages//state",
        "//messages/5/state",
        "/messages/5//state",
        "/messages/5/State",
        "/livez/",
        "/docs/",
    ],
)
async def test_another_spelling_of_a_path_is_unknown_and_nothing_redirects(
    client: httpx.AsyncClient, path: str
) -> None:
    assert_problem(await client.get(f"http://service{path}"), 404, "route-not-found")


async def test_another_spelling_of_the_batchs_path_is_unknown(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/messages/states/", json={"ids": [1]}), 404, "route-not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/messages/5/state", "GET, HEAD"),
        ("DELETE", "/messages/5/state", "GET, HEAD"),
        ("GET", "/messages/states", "POST"),
        ("PUT", "/messages/states", "POST"),
        ("BREW", "/messages/states", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("POST", "/problems/overloaded", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_with_the_right_one(
    client: httpx.AsyncClient, method: str, path: str, allow: str
) -> None:
    response = await client.request(method, path)
    assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allow


async def test_a_head_request_with_if_none_match_is_not_modified(sandboxed: httpx.AsyncClient) -> None:
    tag = (await sandboxed.get("/messages/82216/state")).headers["etag"]
    assert (await sandboxed.head("/messages/82216/state", headers={"If-None-Match": tag})).status_code == 304


async def test_head_ignores_wait(platform: FakePlatform) -> None:
    platform.knows(82217, state="send")
    async with service(platform) as client:
        response = await asyncio.wait_for(client.head("/messages/82217/state?wait=50"), 5)
        assert response.status_code == 200
        assert response.headers["cache-control"].startswith("private")


async def test_head_takes_no_quota(platform: FakePlatform) -> None:
    async with service(platform, rate_limit=1) as client:
        for _ in range(5):
            assert (await client.head("/messages/82216/state")).status_code == 200
            assert (await client.head("/messages/states/events?id=82216")).status_code == 200
        assert (await client.get("/messages/82216/state")).status_code == 200


async def test_a_wrong_method_is_told_before_a_bad_id(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/messages/abc/state"), 405, "method-not-allowed")


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 64])
async def test_a_well_formed_request_id_is_taken_over(client: httpx.AsyncClient, given: str) -> None:
    assert (await client.get("/livez", headers={"X-Request-ID": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", "a/b", "ä", "a\tb", '"'])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    response = await client.get("/livez", headers=[(b"X-Request-ID", given.encode("latin-1"))])
    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 16


async def test_two_requests_get_two_ids_and_every_answer_has_one(client: httpx.AsyncClient) -> None:
    paths = ["/livez", "/", "/openapi.json", "/problems/overloaded", "/messages/82216/state", "/nowhere"]
    ids = {(await client.get(path)).headers["x-request-id"] for path in paths}
    assert len(ids) == len(paths)


async def test_the_instance_of_a_problem_is_the_path_without_its_query(client: httpx.AsyncClient) -> None:
    document = assert_problem(await client.get("/messages/0/state?detail=true&key=s3cret"), 422, "invalid-request")
    assert document["instance"] == "/messages/0/state"


async def test_the_bare_address_leads_to_the_docs(client: httpx.AsyncClient) -> None:
    response = await client.get("/")
    assert response.is_redirect
    assert response.headers["location"] == "/docs"
    page = await client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")


async def test_probes_touch_nothing_and_readiness_follows_the_lifespan(platform: FakePlatform) -> None:
    app = create_app(settings_for(), transport=platform.transport())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        early = await client.get("/readyz")
        assert_problem(early, 503, "overloaded")
        assert early.headers["retry-after"] == "1"
        assert (await client.get("/livez")).json() == {"status": "alive"}
        async with app.router.lifespan_context(app):
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        assert_problem(await client.get("/readyz"), 503, "overloaded")
        assert (await client.get("/livez")).status_code == 200
    assert platform.requests == []


async def test_readiness_does_not_depend_on_the_platform(client: httpx.AsyncClient, platform: FakePlatform) -> None:
    platform.always = httpx.ConnectError("refused")
    assert (await client.get("/messages/5/state")).status_code == 502
    assert (await client.get("/readyz")).status_code == 200


async def _no_body() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_crash_after_the_first_bytes_ends_the_response_instead_of_starting_another() -> None:
    sent: list[Message] = []

    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("too late")

    async def keep(message: Message) -> None:
        sent.append(message)

    app = RequestContext(breaks_off, EveryRequest(Lifecycle(), AccessLog(Metrics("1")), make_id=lambda: "made"))
    with pytest.raises(RuntimeError, match="too late"):
        await app({"type": "http", "method": "GET", "path": "/", "headers": []}, _no_body, keep)
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert (b"x-request-id", b"made") in sent[0]["headers"]


async def test_a_crash_outside_of_a_request_is_not_answered() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("start failed")

    async def refuse(message: Message) -> None:
        raise AssertionError(message)

    context = RequestContext(broken, EveryRequest(Lifecycle(), AccessLog(Metrics("1"))))
    with pytest.raises(RuntimeError, match="start failed"):
        await context({"type": "lifespan"}, _no_body, refuse)
