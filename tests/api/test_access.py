"""A closed service lets nobody in who has no key: section 1 of the contract, "Every request and response"."""

import asyncio
import logging
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.platform import TOKEN, FakePlatform
from tests.support.service import assert_problem, secrets_in, service, service_behind

pytestmark = pytest.mark.anyio

KEY, OTHER = "planted-key-4be1f0", "planted-key-77c2aa"
API_KEYS = f"shop:{KEY},crm:{OTHER}"
ONE = "/messages/82216/state"
MANY = "/messages/states"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "BREW"]


def assert_refused(response: httpx.Response, *, body: bool = True) -> None:
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="message-state-proxy"'
    if body:
        assert_problem(response, 401, "unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [
        [("X-API-Key", KEY)],
        [("x-api-key", OTHER)],
        [("X-Api-KEY", KEY)],
        [("Authorization", f"Bearer {KEY}")],
        [("AUTHORIZATION", f"bearer {KEY}")],
        [("authorization", f"BEARER  {KEY}")],
        [("X-API-Key", KEY), ("X-API-Key", KEY)],
        [("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")],
    ],
)
async def test_a_key_opens_both_lookups_in_either_header_and_any_spelling_of_its_name(
    platform: FakePlatform, headers: list[tuple[str, str]]
) -> None:
    async with service(platform, api_keys=API_KEYS) as client:
        assert (await client.get(ONE, headers=headers)).status_code == 200
        assert (await client.post(MANY, json={"ids": [82216]}, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-API-Key", "")],
        [("X-API-Key", "wrong-key-of-a-length")],
        [("X-API-Key", KEY[:-1])],
        [("X-API-Key", KEY.upper())],
        [("X-API-Key", f"shop:{KEY}")],
        [("X-API-Key", API_KEYS)],
        [("X-API-Key", "shop")],
        [("X-API-Key", f"Bearer {KEY}")],
        [("X-API-Key", f'"{KEY}"')],
        [("X-API-Key", f"{KEY}, {KEY}")],
        [("X-API-Key", KEY), ("X-API-Key", OTHER)],
        [("X-API-Key", KEY), ("X-API-Key", "wrong-key-of-a-length")],
        [("X-API-Key", KEY), ("X-API-Key", "")],
        [("X-API-Key", KEY), ("Authorization", f"Bearer {OTHER}")],
        [("X-API-Key", KEY), ("Authorization", "Bearer wrong-key-of-a-length")],
        [("X-API-Key", KEY), ("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {OTHER}")],
        [("Authorization", KEY)],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Bearer{KEY}")],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Token {KEY}")],
        [("Authorization", f"Bearer {KEY} {KEY}")],
        [("Authorization", f"Bearer {KEY},")],
        [("Proxy-Authorization", f"Bearer {KEY}")],
        [("X_API_Key", KEY)],
        [("Cookie", f"X-API-Key={KEY}")],
    ],
)
async def test_no_wrong_missing_or_conflicting_credential_opens_anything(
    platform: FakePlatform, headers: list[tuple[str, str]]
) -> None:
    async with service(platform, api_keys=API_KEYS) as client:
        assert_refused(await client.get(ONE, headers=headers))
        assert_refused(await client.post(MANY, json={"ids": [82216]}, headers=headers))
    assert platform.requests == []


@pytest.mark.parametrize("query", [f"?X-API-Key={KEY}", f"?api_key={KEY}", f"?access_token={KEY}"])
async def test_a_key_in_the_address_is_no_key(platform: FakePlatform, query: str) -> None:
    async with service(platform, api_keys=API_KEYS) as client:
        assert_refused(await client.get(ONE + query))


@pytest.mark.parametrize(
    "path",
    [
        ONE,
        MANY,
        "/messages",
        "/messages/",
        "/messages/82216/state/",
        "/messages/82216",
        "/messages//82216/state",
        "/messages/%2e%2e/livez",
        "/messages%2F82216%2Fstate",
        "/%6Dessages/82216/state",
        "/%6d%65%73%73%61%67%65%73/states",
        "/messages;x/82216/state",
        "/messages/82216/state?detail=true",
        "/messages/states/events?id=1",
        "/messagesandmore",
        "/messages%00",
    ],
)
async def test_whatever_starts_with_messages_asks_for_a_key_first(path: str) -> None:
    async with service(api_keys=API_KEYS) as client:
        url = httpx.URL("http://service").copy_with(raw_path=path.encode())
        for method in METHODS:
            assert_refused(await client.send(client.build_request(method, url)), body=method != "HEAD")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/livez", 200),
        ("/readyz", 200),
        ("/docs", 200),
        ("/openapi.json", 200),
        ("/problems/unauthenticated", 200),
        ("/", 307),
        ("/nothing", 404),
        ("/Messages/82216/state", 404),
        ("//messages/82216/state", 404),
        ("/v1/messages/82216/state", 404),
        ("/message", 404),
    ],
)
async def test_other_paths_ask_for_no_key_and_lead_to_no_message(
    platform: FakePlatform, path: str, status: int
) -> None:
    async with service(platform, api_keys=API_KEYS) as client:
        url = httpx.URL("http://service").copy_with(raw_path=path.encode())
        assert (await client.send(client.build_request("GET", url))).status_code == status
    assert platform.requests == []


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/messages/x", b"", 404),
        ("DELETE", ONE, b"", 405),
        ("POST", MANY, b"[" * (1024 * 1024 + 1), 413),
        ("POST", MANY, b"no JSON", 422),
        ("GET", "/messages/0/state", b"", 422),
    ],
)
async def test_without_a_key_no_other_mistake_is_told(method: str, path: str, content: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    async with service(api_keys=API_KEYS) as client:
        assert_refused(await client.request(method, path, content=content, headers=headers))
        told = await client.request(method, path, content=content, headers={**headers, "X-API-Key": KEY})
        assert told.status_code == status


async def test_an_open_service_ignores_whatever_credentials_come(platform: FakePlatform) -> None:
    async with service(platform) as client:
        for headers in ({}, {"X-API-Key": "anything"}, {"Authorization": "Basic eA=="}):
            assert (await client.get(ONE, headers=headers)).status_code == 200


@given(
    st.sampled_from(["X-API-Key", "Authorization", "authorization"]),
    st.binary(max_size=60) | st.binary(max_size=40).map(lambda rest: b"Bearer " + rest),
)
def test_no_credential_at_random_opens_anything(name: str, value: bytes) -> None:
    async def ask() -> httpx.Response:
        async with service(api_keys=API_KEYS) as client:
            return await client.get(ONE, headers=[(name.encode(), value)])

    assert_refused(asyncio.run(ask()))


async def test_neither_answer_nor_log_nor_document_shows_a_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with service(api_keys=API_KEYS) as client:
        texts = [
            (await client.get(path, headers={"X-API-Key": key})).text
            for path in (ONE, "/messages/0/state", "/openapi.json", "/docs")
            for key in (KEY, KEY + "x")
        ]
    assert not [text for text in [*texts, caplog.text] if KEY in text or OTHER in text]


async def test_keys_are_exchanged_by_their_file_and_a_bad_file_changes_nothing(
    platform: FakePlatform, tmp_path: Path
) -> None:
    file = tmp_path / "API_KEYS"
    file.write_text(f"shop:{KEY}")
    secrets = secrets_in(tmp_path, "api_keys", upstream_token=TOKEN, api_keys=f"shop:{KEY}")
    async with service(platform, secrets=secrets) as client:

        async def statuses(content: str | None) -> list[int]:
            if content is not None:
                file.write_text(content)
            service_behind(client).refresh_secrets()
            service_behind(client).refresh_secrets()  # the second look is what makes it count
            return [(await client.get(ONE, headers={"X-API-Key": key})).status_code for key in (KEY, OTHER)]

        assert await statuses(None) == [200, 401]
        assert await statuses(f"shop:{KEY},shop-2:{OTHER}\n") == [200, 200]
        assert await statuses(f"shop-2:{OTHER}") == [401, 200]
        for useless in ("", "\n", "shop:short", KEY, f"shop:{KEY},shop:{OTHER}"):
            assert await statuses(useless) == [401, 200]
        file.unlink()
        assert await statuses(None) == [401, 200]


async def test_a_file_of_keys_that_appears_later_closes_an_open_service(platform: FakePlatform, tmp_path: Path) -> None:
    secrets = secrets_in(tmp_path, "api_keys", upstream_token=TOKEN)
    async with service(platform, secrets=secrets) as client:
        assert (await client.get(ONE)).status_code == 200
        (tmp_path / "API_KEYS").write_text(f"shop:{KEY}")
        service_behind(client).refresh_secrets()
        service_behind(client).refresh_secrets()
        assert_refused(await client.get(ONE))


async def test_a_refusal_by_the_platform_does_not_hurry_a_file_of_keys_that_is_being_written(
    platform: FakePlatform, tmp_path: Path
) -> None:
    now = f"shop:{KEY}"
    secrets = secrets_in(tmp_path, "api_keys", upstream_token="refused", api_keys=now)
    async with service(platform, secrets=secrets) as client:
        (tmp_path / "API_KEYS").write_text(f"shop:{OTHER}")
        assert_problem(await client.get(ONE, headers={"X-API-Key": KEY}), 502, "upstream-credentials-rejected")
        assert secrets.get("api_keys") == now
