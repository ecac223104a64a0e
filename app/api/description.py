"""The OpenAPI document: what FastAPI derives from the routes, plus the problem schemas and an introduction."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.catalogue import CATALOGUE
from app.api.document import complete
from app.api.schemas import FieldError, Problem, json_schema_of
from app.lookup.record import STATES

TAGS = [
    {"name": "Messages", "description": "What became of messages."},
    {"name": "Webhook", "description": "For the platform."},
    {"name": "Operations", "description": "Probes."},
    {"name": "Documentation", "description": "Problems explained."},
]


def introduction(sandbox_rules: list[tuple[str, str]]) -> str:
    """The text at the top of the page: states, problems, and the sandbox's numbers where there are any."""
    states = "\n".join(
        f"| `{word}` | {state.meaning} | {'yes' if state.final else 'no'} | `{state.outcome}` |"
        for word, state in STATES.items()
    )
    sandbox = _sandbox(sandbox_rules) if sandbox_rules else ""
    problems = "\n".join(f"- {row.status} [{row.slug}]({row.link}): {row.title}" for row in CATALOGUE.values())
    return f"""What became of message 82216? This service asks the SMS platform and answers in clean JSON.

Open an operation below and press **Execute**: message 82216, the platform's documented example, is filled in. Where
the operator has set API keys, press **Authorize** first and enter yours. This page shows of a stream what comes within
10 s.

A message is in one of these states, in the platform's own words. Branch on the outcome:

| state | meaning | final | outcome |
|---|---|---|---|
{states}

New states of the platform pass through with the outcome `unknown`. A sentence in the place of a state is no state: it
is the problem of that message, with the platform's text as `upstream_message`.

A message's number is a whole number without fraction: `1.0` is refused.

What this document describes stays: paths, parameters and members are added, and not changed or taken away, as long as
the first number of the version stays (before 1.0, the second one). So ignore members that you do not know. What is to
go is marked `deprecated` here at least one such version before it goes.

Every error is a problem document (`application/problem+json`, RFC 9457). Its `type` leads to a page on this service
that says what the caller and what the operator does about it.

<details><summary>All problems</summary>

{problems}

</details>
{sandbox}"""


def _sandbox(rules: list[tuple[str, str]]) -> str:
    rows = "\n".join(f"| {ids} | {meaning} |" for ids, meaning in rules)
    return f"""
<details><summary>The sandbox's message numbers</summary>

No platform is asked: the sandbox answers (`UPSTREAM_URL=sandbox:`), and a message's number decides what:

| a number that | answers |
|---|---|
{rows}

</details>
"""


def install_openapi(app: FastAPI, sandbox_rules: list[tuple[str, str]], *, closed: bool, root_path: str) -> None:
    """Replace FastAPI's document by ours; it is made once, when somebody first asks.

    ``closed``: lookups need a key. ``root_path``: the prefix of the service's paths, or nothing.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=introduction(sandbox_rules),
                routes=app.routes,
                tags=TAGS,
                contact={"name": "The operator of this service"},
                license_info={"name": "MIT", "identifier": "MIT"},
            )
            schemas = document["components"]["schemas"]
            for model in (Problem, FieldError):
                schema = json_schema_of(model)
                schema.pop("$defs", None)
                schemas[model.__name__] = schema
            document["components"]["schemas"] = dict(sorted(schemas.items()))
            complete(document, sandboxed=bool(sandbox_rules), closed=closed, root_path=root_path)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
