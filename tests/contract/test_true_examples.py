"""What the document shows as an operation's problem is what the service answers to a request that has it."""

from typing import Any

import httpx
import pytest

from app.api.health import Lifecycle
from tests.contract.test_openapi_document import DOCUMENT, OPERATIONS
from tests.support.platform import FakePlatform
from tests.support.service import service, service_behind
from tests.support.watching import WEBHOOK, WEBHOOK_TOKEN

pytestmark = pytest.mark.anyio

KEY = "a-key-of-sixteen-characters"
JSON = {"Content-Type": "application/json"}
BATCH = {"path": "/messages/states", "method": "POST"}
HOOK = {"path": WEBHOOK, "method": "POST"}
LARGE = b"[" * 1_100_000

# Operation, problem, and a request that has it.
PROVOKED: list[tuple[str, str, dict[str, Any]]] = [
    ("getMessageState", "invalid-request", {"path": "/messages/082216/state"}),
    ("getMessageState", "unauthenticated", {"path": "/messages/82216/state", "key": None}),
    ("lookUpMessages", "invalid-request", {**BATCH, "body": b'{"ids": [1, 2, 3, 4.5]}'}),
    ("lookUpMessages", "unauthenticated", {**BATCH, "key": None}),
    ("lookUpMessages", "request-too-large", {**BATCH, "body": LARGE}),
    ("streamMessageStates", "invalid-request", {"path": "/messages/states/events?id=01"}),
    ("streamMessageStates", "unauthenticated", {"path": "/messages/states/events?id=1", "key": None}),
    ("receiveMessageStates", "invalid-request", {**HOOK, "body": b"{}"}),
    ("receiveMessageStates", "request-too-large", {**HOOK, "body": LARGE}),
    ("receiveMessageStates", "route-not-found", {**HOOK, "path": f"{WEBHOOK}x"}),
    ("getProblem", "route-not-found", {"path": "/problems/no-such-problem"}),
    ("getReadiness", "overloaded", {"path": "/readyz"}),
]


def shown(name: str, slug: str) -> Any:
    """The example of a problem of an operation."""
    operation = next(each for each in OPERATIONS if each["operationId"] == name)
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            if slug in content.get("examples", {}):
                return content["examples"][slug]["value"]
    raise AssertionError(f"{name} does not document {slug}")


@pytest.mark.parametrize(("name", "slug", "request_"), PROVOKED, ids=[f"{name}-{slug}" for name, slug, _ in PROVOKED])
async def test_a_problem_is_answered_as_the_document_shows_it(name: str, slug: str, request_: dict[str, Any]) -> None:
    headers = {**JSON, "X-Request-ID": "5f0c6b1e9d3a4b7c", "X-API-Key": request_.get("key", KEY) or ""}
    async with service(FakePlatform(), api_keys=f"one:{KEY}", webhook_token=WEBHOOK_TOKEN) as client:
        lifecycle: Lifecycle = service_behind(client).lifecycle
        if name == "getReadiness":
            lifecycle.stop()
        reply = await client.request(
            request_.get("method", "GET"), request_["path"], headers=headers, content=request_.get("body", b"")
        )
    assert reply.json() == shown(name, slug)


async def test_an_id_that_the_platform_does_not_know_is_answered_as_the_document_shows_it() -> None:
    platform = FakePlatform()
    platform.knows(82216, state="Сообщение с таким ID не принималось")
    async with service(platform) as client:
        reply = await client.get("/messages/82216/state", headers={"X-Request-ID": "5f0c6b1e9d3a4b7c"})
    assert reply.json() == shown("getMessageState", "message-not-found")


async def test_the_names_of_the_operations_cannot_be_mistaken_for_each_other() -> None:
    names = [each["operationId"] for each in OPERATIONS]
    assert {"getMessageState", "lookUpMessages", "streamMessageStates", "receiveMessageStates"} <= set(names)
    assert not {f"{name}s" for name in names} & set(names)


def nodes(node: Any) -> list[dict[str, Any]]:
    """Every object of the document."""
    if isinstance(node, list):
        return [found for each in node for found in nodes(each)]
    if isinstance(node, dict):
        return [node, *(found for each in node.values() for found in nodes(each))]
    return []


def test_every_id_has_64_bits() -> None:
    ids = [node for node in nodes(DOCUMENT) if node.get("type") == "integer" and node.get("maximum") == 2**53 - 1]
    assert len(ids) >= 5
    assert all(node["format"] == "int64" for node in ids)
    hook = next(each for each in OPERATIONS if each["operationId"] == "receiveMessageStates")
    numbers = [node for node in nodes(hook) if node.get("type") == "integer" and "properties" not in node]
    assert [node.get("format") for node in numbers if "minimum" not in node and "description" not in node] != []


def test_what_may_be_absent_has_no_default_and_null_only_where_it_is_sent() -> None:
    answers = ("MessageState", "MessageProblem", "BatchReply", "Problem", "FieldError", "ProblemExplanation", "Health")
    nullable = set()
    for name in answers:
        for member, schema in DOCUMENT["components"]["schemas"][name]["properties"].items():
            assert "default" not in schema, (name, member)
            if {"type": "null"} in schema.get("anyOf", []):
                nullable.add(member)
    assert nullable == {"changed_at", "parts", "price_per_part"}


def test_an_array_in_the_query_says_how_it_is_written() -> None:
    arrays = [each for operation in OPERATIONS for each in operation.get("parameters", []) if "schema" in each]
    arrays = [each for each in arrays if each["schema"].get("type") == "array"]
    assert [(each["name"], each["style"], each["explode"]) for each in arrays] == [("id", "form", True)]


def test_the_events_of_a_stream_are_typed() -> None:
    stream = next(each for each in OPERATIONS if each["operationId"] == "streamMessageStates")
    schema = stream["responses"]["200"]["content"]["text/event-stream"]["schema"]
    names = [each["$ref"].rsplit("/", 1)[1] for each in schema["oneOf"]]
    assert names == ["MessageState", "MessageProblem"]


def test_the_document_says_whom_to_ask_what_stays_and_what_is_refused() -> None:
    info = DOCUMENT["info"]
    assert info["contact"]
    for word in ("`1.0` is refused", "deprecated", "ignore members"):
        assert word in info["description"]
    assert "`1.0` is refused" in DOCUMENT["components"]["schemas"]["BatchRequest"]["properties"]["ids"]["description"]


async def test_an_open_service_does_not_ask_for_a_key_and_a_closed_one_does() -> None:
    async def securities(client: httpx.AsyncClient) -> list[Any]:
        document = (await client.get("/openapi.json")).json()
        return [document["paths"][path][method]["security"] for path, method in LOOKUPS]

    async with service(FakePlatform()) as client:
        assert await securities(client) == [[], []]
    async with service(FakePlatform(), api_keys=f"one:{KEY}") as client:
        assert await securities(client) == [[{"ApiKey": []}, {"Bearer": []}]] * 2


LOOKUPS = (("/messages/{id}/state", "get"), ("/messages/states", "post"))
