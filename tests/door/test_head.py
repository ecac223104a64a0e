"""HEAD on every GET route: the status and the headers of GET, and nothing else."""

import pytest
from fastapi.routing import iter_route_contexts

from tests.door.case import get, request
from tests.support.door import Door, RawCaller, at_the_door

pytestmark = pytest.mark.anyio

# The route of each path; answers of every kind where a route has several.
PATHS = {
    "/livez": ("/livez", 200),
    "/readyz": ("/readyz", 200),
    "/": ("/", 307),
    "/docs": ("/docs", 200),
    "/docs/style.css": ("/docs/{name:path}", 200),
    "/docs/nothing": ("/docs/{name:path}", 404),
    "/openapi.json": ("/openapi.json", 200),
    "/docs/runbook": ("/docs/runbook", 200),
    "/problems/": ("/problems/", 200),
    "/problems/overloaded": ("/problems/{slug}", 200),
    "/problems/nothing": ("/problems/{slug}", 404),
    "/messages/82216/state?detail=true": ("/messages/{id}/state", 200),
    "/messages/82218/state": ("/messages/{id}/state", 404),
    "/messages/0/state": ("/messages/{id}/state", 422),
    "/messages/states/events?id=82213": ("/messages/states/events", 200),
    "/messages/states/events?id=0": ("/messages/states/events", 422),
    "/nowhere": ("", 404),
    "/messages/states": ("", 405),
}
# The time, and that a stream is sent in chunks, which a reply without a body may leave out (RFC 9110, section 9.3.2).
DIFFERENT = {"date", "age", "transfer-encoding"}


async def test_head_has_the_status_and_the_headers_of_get_and_no_body() -> None:
    async with at_the_door() as door:
        for path, (_, status) in PATHS.items():
            await _ask(door, "GET", path)  # what comes from the cache says so
            got, headed = await _ask(door, "GET", path), await _ask(door, "HEAD", path)
            assert headed == got, path
            assert headed[0] == status


async def test_every_get_route_has_been_asked() -> None:
    async with at_the_door() as door:
        routes = {each.path for each in iter_route_contexts(door.app.routes) if "GET" in (each.methods or ())}
    assert routes == {route for route, _ in PATHS.values()} - {""}


async def test_head_opens_no_stream_and_waits_for_nothing() -> None:
    async with at_the_door(max_waiters=1) as door, door.caller() as caller:
        for path in ("/messages/states/events?id=82217", "/messages/82217/state?wait=50"):
            await caller.send(request("HEAD", path))
            assert (await caller.reply("HEAD")).status == 200
            assert door.app.state.service.watcher.subscriptions.waiters == 0
        assert await caller.is_open()


async def _ask(door: Door, method: str, path: str) -> tuple[int, dict[str, str]]:
    """Status and headers; after HEAD the connection's next bytes are the next answer's."""
    caller: RawCaller
    async with door.caller() as caller:
        await caller.send(request(method, path, "X-Request-ID: same"))
        reply = await caller.reply(method)
        if method == "HEAD":
            await caller.send(get())
            assert (await caller.reply()).document == {"status": "alive"}
        return reply.status, {name: value for name, value in reply.headers.items() if name not in DIFFERENT}
