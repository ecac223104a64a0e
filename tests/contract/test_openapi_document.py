"""The published document as others read it: a linter, a generator of types, a person with the examples."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from app.api.schemas import BatchReply, BatchRequest, Health, MessageProblem, MessageState, Problem
from tests.support.documents import read_yaml
from tests.support.example import FOLDER, needs_npm, npm_program
from tests.support.scale import only_in_ci
from tools import openapi

DOCUMENT = read_yaml(openapi.PATH)
OPERATIONS = [each for methods in DOCUMENT["paths"].values() for each in methods.values()]


@needs_npm
def test_the_linter_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDOCLY_TELEMETRY", "off")
    monkeypatch.setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
    done = npm_program("redocly", "lint", "openapi.yaml", "--format", "summary")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stdout.lower()


@needs_npm
@only_in_ci
def test_the_linter_would_find_something(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REDOCLY_TELEMETRY", "off")
    monkeypatch.setenv("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
    broken = tmp_path / "openapi.yaml"
    broken.write_text(openapi.PATH.read_text(encoding="utf-8").replace("price_per_part: '10.6000000'", "price: 1"))
    done = npm_program("redocly", "lint", str(broken), "--config", "redocly.yaml")
    assert done.returncode == 1
    assert "no-invalid-media-type-examples" in done.stdout + done.stderr


@needs_npm
def test_the_committed_types_are_those_of_the_document(tmp_path: Path) -> None:
    done = npm_program(
        "openapi-typescript", "openapi.yaml", "--default-non-nullable", "false", "-o", str(tmp_path / "api.d.ts")
    )
    assert done.returncode == 0, done.stderr
    committed = (FOLDER / "examples" / "src" / "api.d.ts").read_text(encoding="utf-8")
    assert committed == (tmp_path / "api.d.ts").read_text(encoding="utf-8"), "run `make types` and commit the result"


@needs_npm
@only_in_ci
def test_the_example_page_compiles_under_the_strict_rules(tmp_path: Path) -> None:
    done = npm_program("tsc", "-p", "examples", "--outDir", str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")


def test_no_file_of_node_names_where_packages_come_from() -> None:
    for name in ("package.json", "package-lock.json", ".npmrc"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert not re.search(r"registry\.|//[^\s\"]*:_auth", text)


def _examples() -> Iterator[tuple[str, str, Any]]:
    for operation in OPERATIONS:
        for status, response in operation["responses"].items():
            for content in response.get("content", {}).values():
                for name, example in content.get("examples", {}).items():
                    yield f"{operation['operationId']}-{status}-{name}", status, example["value"]


EXAMPLES = list(_examples())
MODELS: dict[str, Any] = {
    "getMessageState": MessageState,
    "lookUpMessages": BatchReply,
    "getLiveness": Health,
    "getReadiness": Health,
    "streamMessageStates": MessageState | MessageProblem,
    "receiveMessageStates": list,
}


@pytest.mark.parametrize(("name", "status", "value"), EXAMPLES, ids=[name for name, _, _ in EXAMPLES])
def test_an_example_is_an_answer_that_the_service_could_give(name: str, status: str, value: Any) -> None:
    model = MODELS[name.partition("-")[0]] if status == "200" else Problem
    parsed = TypeAdapter(model).validate_python(value)
    if isinstance(parsed, BaseModel):
        required = {key for key, field in type(parsed).model_fields.items() if field.is_required()}
        assert required <= value.keys()
    if isinstance(parsed, Problem):
        assert parsed.status == int(status)


def test_every_answer_has_an_example_and_the_request_id() -> None:
    for operation in OPERATIONS:
        for status, response in operation["responses"].items():
            assert "X-Request-ID" in response["headers"], (operation["operationId"], status)
            if status not in ("204", "304") and operation["operationId"] != "getProblem":
                assert all(content["examples"] for content in response["content"].values())


def test_the_example_of_a_batch_is_one() -> None:
    body = DOCUMENT["paths"]["/messages/states"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        BatchRequest.model_validate(example["value"])


def test_the_state_tells_how_to_keep_it_and_how_to_ask_again() -> None:
    state = DOCUMENT["paths"]["/messages/{id}/state"]["get"]
    caching = {"ETag", "Cache-Control", "Age", "Cache-Status", "Vary", "X-Request-ID"}
    assert set(state["responses"]["200"]["headers"]) == set(state["responses"]["304"]["headers"]) == caching
    named = [
        DOCUMENT["components"]["parameters"][each["$ref"].rsplit("/", 1)[1]]["name"]
        for each in state["parameters"]
        if "$ref" in each
    ]
    assert named == ["If-None-Match", "Cache-Control"]


def test_every_problem_leads_to_its_page() -> None:
    for operation in OPERATIONS:
        for status, response in operation["responses"].items():
            slugs = response.get("content", {}).get("application/problem+json", {}).get("examples", {})
            for slug in slugs:
                assert f"(problems/{slug})" in response["description"], (operation["operationId"], status)
