"""The OpenAPI document: what it promises. That the committed file is the code's: ``test_generated_files``."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from app.api.catalogue import CATALOGUE
from app.api.schemas import BatchReply, BatchRequest, MessageState, Problem
from app.lookup.record import STATES
from app.main import create_app
from app.settings import Settings
from app.upstream.sandbox import rules
from tests.support.service import settings_for
from tools import openapi

DOCUMENT: dict[str, Any] = create_app(Settings.for_sandbox()).openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


def test_these_are_the_operations() -> None:
    assert {"GET /messages/{id}/state", "POST /messages/states", "GET /livez", "GET /readyz"} <= OPERATIONS.keys()
    assert "GET /" not in OPERATIONS


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_every_operation_has_a_summary_a_description_an_id_and_a_tag(operation: dict[str, Any]) -> None:
    assert all(operation[key] for key in ("summary", "description", "operationId", "tags"))


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_every_operation_names_its_problems_and_each_example_is_one_of_the_catalogue(operation: dict[str, Any]) -> None:
    failures = {status: response for status, response in operation["responses"].items() if int(status) >= 400}
    assert "500" in failures
    for status, response in failures.items():
        assert response["description"]
        assert list(response["content"]) == ["application/problem+json"]
        content = response["content"]["application/problem+json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        for slug, example in content["examples"].items():
            row = CATALOGUE[slug]
            assert str(row.status) == status
            assert example["value"]["type"] == row.type
            Problem.model_validate(example["value"])
        needs_time = any(CATALOGUE[slug].retry_after for slug in content["examples"])
        assert needs_time == ("Retry-After" in response.get("headers", {}))


def test_a_lookup_documents_every_problem_that_it_can_have() -> None:
    upstream = {slug for slug in CATALOGUE if slug.startswith("upstream-")}
    for name in ("GET /messages/{id}/state", "POST /messages/states"):
        documented = {
            slug
            for status, response in OPERATIONS[name]["responses"].items() if int(status) >= 400
            for slug in response["content"]["application/problem+json"]["examples"]
        }  # fmt: skip
        assert upstream | {"invalid-request", "overloaded", "internal-error"} <= documented


def test_fastapis_own_validation_schemas_do_not_appear() -> None:
    assert not {"HTTPValidationError", "ValidationError"} & DOCUMENT["components"]["schemas"].keys()
    assert "HTTPValidationError" not in json.dumps(DOCUMENT)


def test_the_success_examples_fit_their_models() -> None:
    models: dict[str, type[BaseModel]] = {"GET /messages/{id}/state": MessageState, "POST /messages/states": BatchReply}
    for name, model in models.items():
        examples = OPERATIONS[name]["responses"]["200"]["content"]["application/json"]["examples"]
        for example in examples.values():
            assert example["summary"]
            model.model_validate(example["value"])
    single = OPERATIONS["GET /messages/{id}/state"]["responses"]["200"]["content"]["application/json"]["examples"]
    assert {example["value"]["outcome"] for example in single.values()} == {"delivered", "pending", "failed", "unknown"}


def test_the_batchs_request_example_fits_its_model() -> None:
    body = OPERATIONS["POST /messages/states"]["requestBody"]
    assert list(body["content"]) == ["application/json"]
    for example in body["content"]["application/json"]["examples"].values():
        BatchRequest.model_validate(example["value"])


def references(node: object) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_to_a_component() -> None:
    found = set(references(DOCUMENT))
    there = {f"#/components/{kind}/{name}" for kind, named in DOCUMENT["components"].items() for name in named}
    assert found
    assert found <= there


def test_ids_have_their_range_and_the_outcome_is_closed_while_the_state_is_open() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    id_ = next(each for each in OPERATIONS["GET /messages/{id}/state"]["parameters"] if each["name"] == "id")
    assert (id_["schema"]["minimum"], id_["schema"]["maximum"]) == (1, 2**53 - 1)
    assert schemas["Outcome"]["enum"] == ["pending", "delivered", "failed", "unknown"]
    state = schemas["MessageState"]["properties"]["state"]
    assert "enum" not in state
    assert all(f"`{word}`" in state["description"] for word in STATES)
    assert set(schemas["MessageState"]["required"]) == set(MessageState.model_fields)
    ids = schemas["BatchRequest"]["properties"]["ids"]
    assert (ids["minItems"], ids["maxItems"]) == (1, 1000)
    assert schemas["BatchRequest"]["additionalProperties"] is False


def test_the_introduction_shows_the_states_and_the_sandboxs_rules() -> None:
    text = DOCUMENT["info"]["description"]
    assert all(f"| `{word}` |" in text for word in STATES)
    assert all(f"| {ids} | {meaning} |" in text for ids, meaning in rules())


def test_only_a_sandboxed_service_lists_the_sandboxs_numbers() -> None:
    real = json.dumps(create_app(settings_for()).openapi())
    assert "sandbox" not in real.lower()
    assert "82213: failed" not in real
    assert "82213: failed" in json.dumps(DOCUMENT)


def test_the_committed_document_is_that_of_a_service_with_keys_before_a_real_platform() -> None:
    committed = openapi.PATH.read_text(encoding="utf-8")
    assert "sandbox" not in committed.lower()
    assert "ApiKey: []" in committed


def test_the_document_is_made_once_and_holds_no_credential() -> None:
    app = create_app(Settings.for_sandbox(upstream_token="s3cret-4711", upstream_login="s3cret-4712"))
    assert app.openapi() is app.openapi()
    assert "s3cret" not in json.dumps(app.openapi())
