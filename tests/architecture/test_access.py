"""Every route under ``/messages`` asks for a key, and no other one does: in what it does, and in the document."""

import re

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from app.main import create_app
from app.settings import Settings

pytestmark = pytest.mark.anyio

APP = create_app(Settings.for_sandbox(api_keys="shop:planted-key-4be1f0"))


def routes() -> list[tuple[str, str]]:
    """Every method and path that the application has, documented or not."""
    found = []
    for context in iter_route_contexts(APP.routes):
        assert context.path, "a route without a path is one that this test does not see"
        found += [(method, context.path) for method in sorted(context.methods or ())]
    return found


def test_the_walk_sees_every_documented_operation() -> None:
    documented = {(method.upper(), path) for path, each in APP.openapi()["paths"].items() for method in each}
    assert documented <= set(routes())
    assert ("POST", "/messages/states") in documented


@pytest.mark.parametrize(("method", "path"), routes())
async def test_a_route_asks_for_a_key_exactly_where_it_is_about_messages(method: str, path: str) -> None:
    filled = re.sub(r"\{[^}]*\}", "1", path)
    async with (
        APP.router.lifespan_context(APP),
        httpx.AsyncClient(transport=httpx.ASGITransport(APP), base_url="http://service") as client,
    ):
        response = await client.request(method, filled)
    assert (response.status_code == 401) == path.startswith("/messages/")
    assert ("www-authenticate" in response.headers) == path.startswith("/messages/")


def test_the_document_says_so_for_every_operation() -> None:
    document = APP.openapi()
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"].items() >= {"type": "apiKey", "in": "header", "name": "X-API-Key"}.items()
    assert schemes["Bearer"].items() >= {"type": "http", "scheme": "bearer"}.items()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            asks = path.startswith("/messages/")
            assert operation["security"] == ([{"ApiKey": []}, {"Bearer": []}] if asks else [])
            assert ("401" in operation["responses"]) == asks
            assert ("429" in operation["responses"]) == asks
