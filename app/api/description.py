"""The OpenAPI document: what FastAPI derives from the routes, plus the problem schemas and an introduction."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.access import needs_key
from app.api.schemas import FieldError, MessageState, Problem, json_schema_of
from app.lookup.states import STATES

TAGS = [
    {"name": "Messages", "description": "What became of messages."},
    {"name": "Operations", "description": "Probes."},
    {"name": "Documentation", "description": "Problems explained."},
]

_KEY = "A key from the operator. Needed where the service has `API_KEYS`; one of the two ways is enough."
SECURITY_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": _KEY},
    "Bearer": {"type": "http", "scheme": "bearer", "description": _KEY},
}


def introduction(sandbox_rules: list[tuple[str, str]]) -> str:
    """The text at the top of the page: states, problems, and the sandbox's numbers."""
    states = "\n".join(
        f"| `{word}` | {state.meaning} | {'yes' if state.final else 'no'} | `{state.outcome}` |"
        for word, state in STATES.items()
    )
    sandbox = "\n".join(f"| {ids} | {meaning} |" for ids, meaning in sandbox_rules)
    return f"""What became of message 82216? This service asks the SMS platform and answers in clean JSON.

| state | meaning | final | outcome |
|---|---|---|---|
{states}

New states of the platform pass through with the outcome `unknown`. Every error is a problem document
(`application/problem+json`, RFC 9457) whose `type` leads to an explanation on this service.

With the built-in sandbox (`UPSTREAM_URL=sandbox:`) a message's number decides what it answers:

| a number that | answers |
|---|---|
{sandbox}
"""


def install_openapi(app: FastAPI, sandbox_rules: list[tuple[str, str]]) -> None:
    """Replace FastAPI's document by ours; it is made once, when somebody first asks."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=introduction(sandbox_rules),
                routes=app.routes,
                tags=TAGS,
                license_info={"name": "MIT", "identifier": "MIT"},
            )
            schemas = document["components"]["schemas"]
            for model in (Problem, FieldError):
                schema = json_schema_of(model)
                schema.pop("$defs", None)
                schemas[model.__name__] = schema
            _drop_default_validation(document)
            _complete_examples(document)
            _ask_for_keys(document)
            document["components"]["schemas"] = dict(sorted(schemas.items()))
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _drop_default_validation(document: dict[str, Any]) -> None:
    """FastAPI promises its own 422 for every parameter, also where no value can be wrong."""
    for operation in _operations(document):
        if "application/json" in operation["responses"].get("422", {}).get("content", {}):
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _ask_for_keys(document: dict[str, Any]) -> None:
    """Say where a key is needed; an empty list says that anybody may ask."""
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [{name: []} for name in SECURITY_SCHEMES] if needs_key(path) else []


def _complete_examples(document: dict[str, Any]) -> None:
    """FastAPI drops nulls from examples; in a real answer every key of a state is there."""
    for operation in _operations(document):
        content = operation["responses"].get("200", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            for state in example["value"].get("states", [example["value"]]):
                state.update({name: state.get(name) for name in MessageState.model_fields})


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for operations in document["paths"].values() for operation in operations.values()]
