"""What ``app/upstream/transport.py`` relies on of httpx-aiohttp: fails when it changes that."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx
import pytest
from httpx_aiohttp import AiohttpTransport

from app.lookup.failures import Unreachable
from app.upstream.transport import failure_of, network
from tests.support.listening import listening

pytestmark = pytest.mark.anyio

REPLY = b"HTTP/1.1 200 Fine\r\nX-One: 1\r\nX-One: 2\r\nContent-Length: 4\r\n\r\n"


@asynccontextmanager
async def server(reply: bytes) -> AsyncIterator[str]:
    """A server that sends this to whoever asks, and closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await writer.drain()

    async with listening(answer) as port:
        yield f"http://127.0.0.1:{port}/"


async def ask(make: Callable[[], httpx.AsyncBaseTransport], url: str) -> httpx.Response:
    transport = make()
    try:
        response = await transport.handle_async_request(httpx.Request("POST", url, content=b"x"))
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response
    finally:
        await transport.aclose()


async def test_the_adapter_with_our_connections_answers_as_httpxs_own_transport_does() -> None:
    async with server(REPLY + b"body") as url:
        ours, theirs = await ask(network(), url), await ask(httpx.AsyncHTTPTransport, url)
    assert (ours.status_code, ours.reason_phrase, ours.content) == (200, "Fine", b"body")
    assert (ours.status_code, ours.reason_phrase, ours.content) == (
        theirs.status_code,
        theirs.reason_phrase,
        theirs.content,
    )
    assert ours.headers.multi_items() == theirs.headers.multi_items()


@pytest.mark.parametrize("reply", [b"", REPLY, REPLY + b"bo"], ids=["nothing", "a head", "half a body"])
async def test_an_error_of_the_adapter_has_aiohttps_own_as_its_cause_and_that_one_says_what_happened(
    reply: bytes,
) -> None:
    async with server(reply) as url:
        with pytest.raises(httpx.HTTPError) as raised:
            await ask(network(), url)
    assert isinstance(raised.value.__cause__, aiohttp.ClientError)
    # By its own class a connection that was closed may be a time-out of connecting.
    assert isinstance(failure_of(raised.value), Unreachable)


async def test_the_adapter_uses_the_session_that_it_is_given_and_closes_it() -> None:
    session = aiohttp.ClientSession()
    transport = AiohttpTransport(client=session)
    assert transport.get_client() is session
    await transport.aclose()
    assert session.closed
