"""gzip: what is compressed, for whom, and what is not."""

import gzip
import json
from typing import Any

import httpx
import pytest

from app.api import compression
from app.api.compression import MIN_COMPRESSED
from app.api.docs import assets
from app.api.negotiation import accepts_gzip
from tests.support.platform import FakePlatform
from tests.support.virtual_time import on_virtual_time
from tests.support.watching import stage

pytestmark = pytest.mark.anyio

GZIP = {"Accept-Encoding": "gzip"}
PLAIN = {"Accept-Encoding": "identity"}
MANY = {"ids": list(range(10, 5000, 10))}
PAGES = ["/openapi.json", "/problems/", "/docs/style.css", *(f"/docs/{name}" for name in assets() if "swagger" in name)]


async def raw(client: httpx.AsyncClient, method: str, path: str, **options: object) -> tuple[httpx.Response, bytes]:
    """The response, and its body as it came."""
    async with client.stream(method, path, **options) as response:  # type: ignore[arg-type]  # passed on as given
        return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("GZIP;q=0.5", True),
        ("br;q=1, *;q=0.1", True),
        ("x-gzip", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("gzipped", False),
        ("br", False),
        ("gzip;q=nonsense", False),
        ("gzip;q=nan", False),
        ("gzip;q=2", False),
        ("gzip ; q = 0", False),
        ("identity;q=0", False),
        ("*;q=0, gzip", True),
        (", ,gzip;foo=bar", True),
    ],
)
async def test_gzip_is_for_whoever_accepts_it(sandboxed: httpx.AsyncClient, header: str, accepted: bool) -> None:
    assert accepts_gzip(header) == accepted
    for path in PAGES:
        response, _ = await raw(sandboxed, "GET", path, headers={"Accept-Encoding": header})
        assert ("content-encoding" in response.headers) == accepted, path
        assert "Accept-Encoding" in response.headers["vary"], path


async def test_a_batch_a_document_and_a_page_are_the_same_compressed(sandboxed: httpx.AsyncClient) -> None:
    requests: list[tuple[str, str, dict[str, Any]]] = [("GET", path, {}) for path in PAGES] + [
        ("POST", "/messages/states", {"json": MANY})
    ]
    for method, path, options in requests:
        plain, content = await raw(sandboxed, method, path, headers=PLAIN, **options)
        packed, compressed = await raw(sandboxed, method, path, headers=GZIP, **options)
        assert plain.status_code == packed.status_code == 200
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) == len(compressed) < len(content)
        if path != "/messages/states":
            assert gzip.decompress(compressed) == content
        assert "Accept-Encoding" in plain.headers["vary"]
        assert "Accept-Encoding" in packed.headers["vary"]


async def test_what_is_compressed_has_no_strong_tag_and_is_not_sent_again(sandboxed: httpx.AsyncClient) -> None:
    for path in PAGES:
        packed, _ = await raw(sandboxed, "GET", path, headers=GZIP)
        tag = packed.headers.get("etag")
        assert tag is None or tag.startswith("W/"), path
        if tag:
            again, body = await raw(sandboxed, "GET", path, headers={**GZIP, "If-None-Match": tag})
            assert (again.status_code, body, again.headers["etag"]) == (304, b"", tag)
            assert "content-encoding" not in again.headers


async def test_head_has_the_headers_of_get(sandboxed: httpx.AsyncClient) -> None:
    for path in PAGES:
        get, _ = await raw(sandboxed, "GET", path, headers=GZIP)
        head, _ = await raw(sandboxed, "HEAD", path, headers=GZIP)
        for name in ("content-encoding", "content-length", "vary", "etag"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)


async def test_what_is_small_stays_as_it_is(sandboxed: httpx.AsyncClient) -> None:
    small = await sandboxed.post("/messages/states", json={"ids": [82216]}, headers=GZIP)
    assert len(small.content) < MIN_COMPRESSED
    assert "content-encoding" not in small.headers


async def test_a_batch_of_a_thousand_is_a_tenth(sandboxed: httpx.AsyncClient) -> None:
    ids = list(range(10_000, 20_000, 10))
    _, content = await raw(sandboxed, "POST", "/messages/states", json={"ids": ids}, headers=PLAIN)
    _, compressed = await raw(sandboxed, "POST", "/messages/states", json={"ids": ids}, headers=GZIP)
    assert len(compressed) * 10 < len(content)
    assert len(json.loads(content)["states"]) == len(ids)


@pytest.mark.parametrize("query", ["detail=true", "detail=1", "wait=1"])
async def test_the_state_of_one_message_is_never_compressed(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    # No state is as long as what is compressed; so that its length is not the reason, here everything is.
    monkeypatch.setattr(compression, "MIN_COMPRESSED", 1)
    batch = await client.post("/messages/states", json={"ids": [82216]}, headers=GZIP)
    assert batch.headers["content-encoding"] == "gzip"
    for _ in range(2):  # from the platform, and from memory
        response = await client.get(f"/messages/82216/state?{query}", headers=GZIP)
        assert response.status_code == 200
        assert "content-encoding" not in response.headers
        assert response.headers["vary"] == "Origin, Authorization, X-API-Key"
        assert response.headers["etag"].startswith('"')


async def test_a_long_problem_is_compressed_wherever_it_comes_from(client: httpx.AsyncClient) -> None:
    for path in (f"/messages/{'1' * 2000}/state", f"/{'x' * 2000}"):
        response = await client.get(path, headers=GZIP)
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["content-encoding"] == "gzip", path


@on_virtual_time
async def test_an_event_stream_is_never_compressed_and_says_so_to_proxies() -> None:
    platform = FakePlatform()
    platform.knows(*range(1, 100), state="read")
    async with stage(platform) as running:
        stream = running.listen("/messages/states/events?" + "&".join(f"id={n}" for n in range(1, 100)), **GZIP)
        await stream.task
    assert len(stream.body) > MIN_COMPRESSED
    assert stream.body.startswith(b"event: state\n")
    assert "content-encoding" not in stream.answer_headers
    assert "no-transform" in stream.answer_headers["cache-control"]
