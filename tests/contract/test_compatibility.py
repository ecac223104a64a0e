"""No caller of the released interface is broken in silence."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.documents import read_yaml
from tools import docs, openapi
from tools.compatibility import Document, breaking_changes

RELEASED = openapi.PATH.parent / "released" / "openapi.yaml"


@pytest.fixture(scope="module")
def today() -> Document:
    """Today's document; tests change a copy of it."""
    document: Document = read_yaml(openapi.PATH)
    return document


def unreleased(changelog: str) -> str:
    return changelog.partition("## [Unreleased]")[2].partition("\n## [")[0]


def test_a_breaking_change_is_announced_in_the_changelog(today: Document) -> None:
    announced = unreleased((docs.ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    silent = [line for line in breaking_changes(read_yaml(RELEASED), today) if line not in announced]

    assert silent == [], "write each line under *Unreleased* in CHANGELOG.md, or take the change back"


def test_a_document_does_not_break_itself(today: Document) -> None:
    assert breaking_changes(today, copy.deepcopy(today)) == []


def operation(document: Document, method: str = "get") -> Any:
    path = "/messages/{id}/state" if method == "get" else "/messages/states"
    return document["paths"][path][method]


def schema(document: Document, name: str) -> Any:
    return document["components"]["schemas"][name]


def remove(node: Any, key: Any) -> None:
    del node[key]


STATE = "GET /messages/{id}/state"
BATCH = "POST /messages/states"
BREAKS: list[tuple[str, Callable[[Document], Any]]] = [
    ("/livez: the path is gone", lambda d: remove(d["paths"], "/livez")),
    (f"{STATE}: the operation is gone", lambda d: remove(d["paths"]["/messages/{id}/state"], "get")),
    ("GET /readyz: asks for credentials now", lambda d: d["paths"]["/readyz"]["get"].update(security=[{"Bearer": []}])),
    (f"{STATE}: response 304 is gone", lambda d: remove(operation(d)["responses"], "304")),
    (
        f"{STATE}: response 200: header ETag is gone",
        lambda d: remove(operation(d)["responses"]["200"]["headers"], "ETag"),
    ),
    (
        f"{STATE}: response 200: application/json is gone",
        lambda d: remove(operation(d)["responses"]["200"]["content"], "application/json"),
    ),
    (f"{STATE}: parameter detail is gone", lambda d: operation(d)["parameters"].pop(1)),
    (f"{STATE}: parameter detail is required now", lambda d: operation(d)["parameters"][1].update(required=True)),
    (
        f"{STATE}: parameter since is required now",
        lambda d: operation(d)["parameters"].append(
            {"name": "since", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
    ),
    (
        f"{STATE}: parameter id: maximum was 9007199254740991 and is 99",
        lambda d: operation(d)["parameters"][0]["schema"].update(maximum=99),
    ),
    (
        f"{STATE}: parameter detail: the type was boolean and is integer",
        lambda d: operation(d)["parameters"][1]["schema"].update(type="integer"),
    ),
    (
        f"{STATE}: response 200: property parts is gone",
        lambda d: remove(schema(d, "MessageState")["properties"], "parts"),
    ),
    (
        f"{STATE}: response 200: property parts is no longer always there",
        lambda d: schema(d, "MessageState")["required"].remove("parts"),
    ),
    (
        f"{STATE}: response 200.final: the type was boolean and is boolean or null",
        lambda d: schema(d, "MessageState")["properties"]["final"].update(type=["boolean", "null"]),
    ),
    (
        f"{STATE}: response 200.outcome: the value 'failed' is gone",
        lambda d: schema(d, "Outcome")["enum"].remove("failed"),
    ),
    (
        f"{STATE}: response 200.outcome: the value 'late' is new in a closed enumeration",
        lambda d: schema(d, "Outcome")["enum"].append("late"),
    ),
    (
        f"{STATE}: response 200.outcome: the values are no longer closed",
        lambda d: remove(schema(d, "Outcome"), "enum"),
    ),
    (
        f"{BATCH}: response 200.states[].id: the type was integer and is string",
        lambda d: schema(d, "MessageState")["properties"]["id"].update(type="string"),
    ),
    (f"{BATCH}: request: property detail is gone", lambda d: remove(schema(d, "BatchRequest")["properties"], "detail")),
    (
        f"{BATCH}: request: property detail is required now",
        lambda d: schema(d, "BatchRequest")["required"].append("detail"),
    ),
    (
        f"{BATCH}: request.ids: maxItems was 1000 and is 100",
        lambda d: schema(d, "BatchRequest")["properties"]["ids"].update(maxItems=100),
    ),
    (f"{BATCH}: request: the body is gone", lambda d: remove(operation(d, "post"), "requestBody")),
    (
        f"{STATE}: request: a body is required now",
        lambda d: operation(d).update(requestBody={"required": True, "content": {}}),
    ),
]


@pytest.mark.parametrize(("line", "change"), BREAKS, ids=[line for line, _ in BREAKS])
def test_a_breaking_change_is_named(today: Document, line: str, change: Callable[[Document], Any]) -> None:
    after = copy.deepcopy(today)
    change(after)

    assert line in breaking_changes(today, after)


ADDITIONS: list[Callable[[Document], Any]] = [
    lambda d: d["paths"].update({"/new": {"get": {"responses": {}}}}),
    lambda d: operation(d)["parameters"].append({"name": "wait", "in": "query", "schema": {"type": "integer"}}),
    lambda d: operation(d)["responses"].update({"418": {"description": ""}}),
    lambda d: schema(d, "MessageState")["properties"].update(channel={"type": "string"}),
    lambda d: schema(d, "BatchRequest")["properties"].update(wait={"type": "integer"}),
    lambda d: schema(d, "BatchRequest")["properties"]["ids"].update(maxItems=2000),
    lambda d: operation(d)["parameters"][1]["schema"].update(type=["boolean", "string"]),
    lambda d: schema(d, "MessageState").update(description="In other words."),
]


@pytest.mark.parametrize("change", ADDITIONS)
def test_an_addition_breaks_nobody(today: Document, change: Callable[[Document], Any]) -> None:
    after = copy.deepcopy(today)
    change(after)

    assert breaking_changes(today, after) == []


def test_a_new_value_of_a_request_is_an_addition_and_a_removed_one_is_not() -> None:
    def document(values: list[str] | None) -> Document:
        kind = {"type": "string"} | ({"enum": values} if values else {})
        parameter = {"name": "kind", "in": "query", "schema": kind}
        return {"paths": {"/x": {"get": {"parameters": [parameter], "responses": {}}}}}

    assert breaking_changes(document(["a"]), document(["a", "b"])) == []
    assert breaking_changes(document(["a"]), document(None)) == []
    assert breaking_changes(document(["a", "b"]), document(["a"])) == ["GET /x: parameter kind: the value 'b' is gone"]
    assert breaking_changes(document(None), document(["a"])) == [
        "GET /x: parameter kind: only certain values are allowed now"
    ]


def test_a_schema_that_holds_itself_comes_to_an_end() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#/components/schemas/Tree"}}}
    reply = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Tree"}}}}
    document = {"paths": {"/x": {"get": {"responses": {"200": reply}}}}, "components": {"schemas": {"Tree": tree}}}

    assert breaking_changes(document, document) == []


def test_only_what_is_not_released_yet_counts_as_announced() -> None:
    assert unreleased("# C\n## [Unreleased]\nnew\n## [0.1.0]\nold\n").strip() == "new"
