"""Calls from pages of other origins, and the headers that every response has."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.cors import Cors
from tests.support.platform import FakePlatform
from tests.support.service import assert_problem, service

pytestmark = pytest.mark.anyio

SHOP, FOREIGN = "https://shop.example", "https://foreign.example"
ORIGINS = f"{SHOP},http://localhost:5173"
KEY = "planted-key-4be1f0"
ONE = "/messages/82216/state"
READABLE = "ETag, Age, Cache-Status, Retry-After, X-Request-ID"
ALLOWED = (
    "X-API-Key, Authorization, If-None-Match, Last-Event-ID, Cache-Control, Content-Type, X-Request-ID, traceparent, "
    "X-Requested-With, tracestate, baggage, sentry-trace"
)
SECURITY = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY"}

# Method, path, headers, body, and the status that it ends with, on a service with keys and a tiny quota.
WITH_KEY = {"X-API-Key": KEY}
JSON = {**WITH_KEY, "Content-Type": "application/json"}
EVERY_KIND = [
    ("GET", "/messages/1/state", WITH_KEY, b"", 200),
    ("POST", "/messages/states", JSON, b'{"ids": [82216]}', 200),
    ("GET", "/livez", {}, b"", 200),
    ("GET", "/docs", {}, b"", 200),
    ("GET", "/openapi.json", {}, b"", 200),
    ("GET", "/problems/overloaded", {"Accept": "text/html"}, b"", 200),
    ("GET", "/", {}, b"", 307),
    ("GET", ONE, {}, b"", 401),
    ("OPTIONS", ONE, {}, b"", 401),
    ("GET", "/nothing", {}, b"", 404),
    ("GET", "/messages/82218/state", WITH_KEY, b"", 404),
    ("DELETE", ONE, WITH_KEY, b"", 405),
    ("OPTIONS", "/livez", {}, b"", 405),
    ("POST", "/messages/states", JSON, b"[" * 1_100_000, 413),
    ("POST", "/messages/states", JSON, b"no JSON", 422),
    ("GET", "/messages/0/state", WITH_KEY, b"", 422),
    ("GET", "/messages/401/state", WITH_KEY, b"", 502),
]


def vary(response: httpx.Response) -> set[str]:
    return {name.strip().lower() for name in response.headers.get("vary", "").split(",")}


def cors_headers(response: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.startswith("access-control-")}


def assert_readable(response: httpx.Response, origin: str = SHOP) -> None:
    assert cors_headers(response) == {
        "access-control-allow-origin": origin,
        "access-control-expose-headers": READABLE,
    }
    assert "origin" in vary(response)


@pytest.mark.parametrize(("method", "path", "headers", "content", "status"), EVERY_KIND)
async def test_a_page_of_a_configured_origin_may_read_every_kind_of_answer(
    method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    async with service(cors_origins=ORIGINS, api_keys=f"shop:{KEY}") as client:
        response = await client.request(method, path, headers={**headers, "Origin": SHOP}, content=content)
        assert response.status_code == status
        assert_readable(response)
        foreign = await client.request(method, path, headers={**headers, "Origin": FOREIGN}, content=content)
        assert foreign.status_code == status
        assert cors_headers(foreign) == {}
        assert "origin" in vary(foreign)


async def test_a_page_may_read_that_it_is_over_its_quota_and_that_nothing_has_changed(platform: FakePlatform) -> None:
    async with service(platform, cors_origins=ORIGINS, rate_limit=1) as client:
        first = await client.get(ONE, headers={"Origin": SHOP})
        unchanged = await client.get(ONE, headers={"Origin": SHOP, "If-None-Match": first.headers["etag"]})
        assert unchanged.status_code == 304
        assert_readable(unchanged)
        assert vary(unchanged) == {"origin", "authorization", "x-api-key"}
        refused = await client.get(ONE, headers={"Origin": SHOP})
        assert_problem(refused, 429, "rate-limited")
        assert_readable(refused)


async def test_a_page_may_read_that_the_service_has_a_defect(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr("app.api.messages.service_of", crash)
    async with service(platform, cors_origins=ORIGINS) as client:
        response = await client.get(ONE, headers={"Origin": SHOP})
    assert_problem(response, 500, "internal-error")
    assert_readable(response)
    assert SECURITY.items() <= dict(response.headers).items()


@pytest.mark.parametrize("path", [ONE, "/messages/states", "/livez", "/nothing", "/messages"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_preflight_is_answered_without_a_key(path: str, method: str) -> None:
    async with service(cors_origins=ORIGINS, api_keys=f"shop:{KEY}") as client:
        asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-api-key,content-type"}
        response = await client.options(path, headers={"Origin": SHOP, **asked})
    assert (response.status_code, response.content) == (204, b"")
    assert cors_headers(response) == {
        "access-control-allow-origin": SHOP,
        "access-control-allow-methods": "GET, POST",
        "access-control-allow-headers": ALLOWED,
        "access-control-max-age": "600",
    }
    assert vary(response) == {"origin", "access-control-request-method", "access-control-request-headers"}
    assert "x-request-id" in response.headers


@pytest.mark.parametrize(
    ("origin", "method"),
    [
        (FOREIGN, "GET"),
        ("null", "GET"),
        ("*", "GET"),
        ("", "GET"),
        (SHOP.upper(), "GET"),
        (f"{SHOP}/", "GET"),
        (f"{SHOP}:443", "GET"),
        (f"{SHOP}.evil.example", "GET"),
        ("http://shop.example", "GET"),
        ("https://sub.shop.example", "GET"),
        ("http://localhost:5174", "GET"),
        (SHOP, "DELETE"),
        (SHOP, "get"),
        (SHOP, ""),
    ],
)
async def test_a_preflight_from_elsewhere_or_for_another_method_gets_no_permission(origin: str, method: str) -> None:
    async with service(cors_origins=ORIGINS) as client:
        headers = {"Origin": origin, "Access-Control-Request-Method": method}
        response = await client.options(ONE, headers=headers)
        assert (response.status_code, cors_headers(response)) == (204, {})
        assert "origin" in vary(response)
        for second in (FOREIGN, SHOP):
            doubled = [("Origin", SHOP), ("Origin", second), ("Access-Control-Request-Method", "GET")]
            assert cors_headers(await client.options(ONE, headers=doubled)) == {}


async def test_options_that_are_no_preflight_are_a_method_like_any_other() -> None:
    async with service(cors_origins=ORIGINS) as client:
        assert_problem(await client.options(ONE, headers={"Origin": SHOP}), 405, "method-not-allowed")
        headers = {"Access-Control-Request-Method": "GET"}
        assert_problem(await client.options(ONE, headers=headers), 405, "method-not-allowed")


async def test_no_answer_allows_cookies(platform: FakePlatform) -> None:
    async with service(platform, cors_origins=ORIGINS) as client:
        for method in ("GET", "OPTIONS"):
            headers = {"Origin": SHOP, "Access-Control-Request-Method": "GET"}
            response = await client.request(method, ONE, headers=headers)
            assert response.headers["access-control-allow-origin"] == SHOP
            assert "access-control-allow-credentials" not in response.headers


async def test_without_origins_nothing_is_said_about_them(platform: FakePlatform) -> None:
    async with service(platform) as client:
        response = await client.get(ONE, headers={"Origin": SHOP})
        assert (response.status_code, cors_headers(response)) == (200, {})
        preflight = await client.options(ONE, headers={"Origin": SHOP, "Access-Control-Request-Method": "GET"})
        assert_problem(preflight, 405, "method-not-allowed")


@given(st.binary(max_size=40))
async def test_only_the_very_bytes_of_a_configured_origin_are_ever_allowed(origin: bytes) -> None:
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"origin", origin)]}
    added = Cors([SHOP]).permission(scope, [])
    allowed = origin == SHOP.encode()
    assert ((b"access-control-allow-origin", origin) in added) == allowed


@pytest.mark.parametrize(("method", "path", "headers", "content", "status"), EVERY_KIND)
async def test_every_response_has_the_security_headers_once(
    method: str, path: str, headers: dict[str, str], content: bytes, status: int
) -> None:
    async with service(api_keys=f"shop:{KEY}") as client:
        response = await client.request(method, path, headers=headers, content=content)
    assert response.status_code == status
    assert {name: response.headers.get_list(name) for name in SECURITY} == {k: [v] for k, v in SECURITY.items()}
