"""Access as real bytes meet it: what a client library would tidy up before sending arrives here as it is."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.running import running

pytestmark = pytest.mark.anyio

KEY = "planted-key-4be1f0"
ONE = "/messages/82216/state"


async def status(url: str, request: str) -> int:
    """Send the lines of a request and return the reply's status."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    lines = [*request.split("\n"), "Connection: close", "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return int(reply.split(b" ", 2)[1])


def get(target: str, *headers: str) -> str:
    return "\n".join([f"GET {target} HTTP/1.1", "Host: service", *headers])


async def test_no_spelling_of_a_request_gets_past_the_key(tmp_path: Path) -> None:
    async with running({"UPSTREAM_URL": "sandbox:", "API_KEYS": f"shop:{KEY}"}, tmp_path) as service:
        for target, answer in {
            ONE: 401,
            "http://service" + ONE: 401,
            "http://elsewhere.example" + ONE: 401,
            "/messages/../livez": 401,
            "/%6d%65ssages/82216/state": 401,
            "/messages%2f82216%2fstate": 401,
            "/messages/%e9%00": 401,
            "/messages/82216/state?x=/livez": 401,
            "/messages/82216/state#/livez": 401,
            "/livez/../messages/82216/state": 404,
            "/./messages/82216/state": 404,
            "//messages/82216/state": 404,
            "/messages/\xe9": 400,  # no HTTP at all
        }.items():
            assert await status(service.url, get(target)) == answer, target
        for headers in (
            ("X-API-Key:",),
            (f"X-API-Key : {KEY}",),
            (f"X-API-Key: {KEY}x",),
            (f"X-API-Key: {KEY}", "x-api-key: other"),
            (f"Authorization: Bearer {KEY}", "AUTHORIZATION: Bearer other"),
            (f"Authorization: Basic {KEY}",),
            (f"X_API_Key: {KEY}",),
        ):
            assert await status(service.url, get(ONE, *headers)) in (400, 401), headers
        for headers in (
            (f"X-API-Key:{KEY}",),
            (f"x-aPI-kEY:  {KEY}  ",),
            (f"authorization: bEARER {KEY}",),
            (f"X-API-Key: {KEY}", f"X-API-Key: {KEY}"),
        ):
            assert await status(service.url, get(ONE, *headers)) == 200, headers
    assert KEY not in service.text
