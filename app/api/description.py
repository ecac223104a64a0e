"""The OpenAPI document: what FastAPI derives from the routes, and what the service says beyond that.

An introduction, the problem schemas, headers, conditional requests, examples (FastAPI would drop their nulls), and who
may call. It is kept out of the routes' signatures, since FastAPI would read each declared header of each request.
"""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.api.access import CLOSED
from app.api.catalogue import CATALOGUE
from app.api.examples import ANSWERS, PARAMETERS, PROBLEMS, PROBLEMS_OF, SANDBOX_PARAMETERS, Named
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


Document = dict[str, Any]

_KEY = "A key from the operator. Needed where the service has `API_KEYS`; one of the two ways is enough."
_SECURITY_SCHEMES: Document = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": _KEY},
    "Bearer": {"type": "http", "scheme": "bearer", "description": _KEY},
}


def _header(description: str, example: str, schema: Document | None = None) -> Document:
    return {"description": description, "schema": schema or {"type": "string"}, "example": example}


_HEADERS: Document = {
    "X-Request-ID": _header(
        "The request's own id where it sent one (`[A-Za-z0-9._-]{1,64}`), else a new one; the service's log has it.",
        "5f0c6b1e9d3a4b7c",
        {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    ),
    "ETag": _header(
        "A strong entity tag over the body, the same on every replica; send it back in `If-None-Match`.",
        '"0c5e0f7a4a1b9d8e6f3c2b1a"',
        {"type": "string", "pattern": '^"[0-9a-f]+"$'},
    ),
    "Cache-Control": _header(
        "`private, max-age=N` with N = the whole lifetime of this kind of state while it is new, in seconds.",
        "private, max-age=60",
    ),
    "No-Store": _header("Not to be kept.", "no-store", {"type": "string", "const": "no-store"}),
    "Age": {
        "description": "Whole seconds since the platform's reply; what is left of `max-age` is the difference. A "
        "state that has lasted may be older: to ask again costs the platform nothing then.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 3,
    },
    "Cache-Status": _header(
        "Whether this service had the answer or asked the platform (RFC 9211).",
        "message-state; hit",
        {"type": "string", "enum": ["message-state; hit", "message-state; fwd=miss"]},
    ),
    "Vary": _header("The request headers that the answer depends on.", "Origin, Authorization, X-API-Key"),
    "WWW-Authenticate": _header("How to authenticate.", 'Bearer realm="message-state-proxy"'),
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 3,
    },
}
_STATE_HEADERS = ("ETag", "Cache-Control", "Age", "Cache-Status", "Vary")
_REQUEST_HEADERS: Document = {
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Entity tags that the caller has, or `*`; a state that matches is answered with 304, "
        "without a body.",
        "schema": {"type": "string"},
    },
    "CacheControl": {
        "name": "Cache-Control",
        "in": "header",
        "description": "`no-cache` asks the platform anew, except for a final state that is cached with the detail "
        "asked for.",
        "schema": {"type": "string"},
    },
}
_DESCRIPTIONS = {
    "getMessageState": "The state.",
    "lookUpMessages": "The states that there are, and a problem for each other message.",
    "getLiveness": "The process runs.",
    "getReadiness": "The process wants callers.",
    "getProblem": "The explanation.",
}


def complete(document: Document, *, sandboxed: bool, closed: bool, root_path: str) -> None:
    """Add to the document, in place. ``sandboxed``: examples that the sandbox alone answers are offered as well.

    ``closed``: lookups need a key. ``root_path``: the prefix of the service's paths; without one, generated clients
    and pages take the place where they got the document from.
    """
    document["servers"] = [{"url": root_path or ".", "description": "This service"}]
    components = document["components"]
    components["headers"] = _HEADERS
    components["parameters"] = _REQUEST_HEADERS
    components["securitySchemes"] = _SECURITY_SCHEMES
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    for path, operation in _operations(document):
        # An empty list says that anybody may ask.
        operation["security"] = [{name: []} for name in _SECURITY_SCHEMES] if closed and CLOSED in path else []
        _describe_answers(path, operation, root_path)
        _describe_parameters(operation, sandboxed)
        if operation["operationId"] == "getMessageState":
            _describe_conditions(operation)
    _whole_bounds(document)


def _operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _describe_answers(path: str, operation: Document, root_path: str) -> None:
    name, responses = operation["operationId"], operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):
        # Added by FastAPI wherever there is a parameter; a plain text cannot be wrong.
        del responses["422"]
    ok = responses["200"]
    ok["description"] = _DESCRIPTIONS.get(name, ok["description"])
    if name in ANSWERS:
        content = next(iter(ok["content"].values()))
        content["examples"] = _prefixed(_named(ANSWERS[name]), root_path)
    if name == "lookUpMessages":
        ok["headers"] = {"Cache-Control": _ref("headers", "No-Store")}
    for status, response in responses.items():
        own = response.setdefault("headers", {})
        if "Retry-After" in own:
            own["Retry-After"] = _ref("headers", "Retry-After")
        if status == "401":
            own["WWW-Authenticate"] = _ref("headers", "WWW-Authenticate")
        if int(status) >= 400:
            own["Cache-Control"] = _ref("headers", "No-Store")
            _describe_problem(path, name, response, root_path)
        own["X-Request-ID"] = _ref("headers", "X-Request-ID")


def _describe_problem(path: str, name: str, response: Document, root_path: str) -> None:
    content = response["content"]["application/problem+json"]
    for slug, example in content["examples"].items():
        example["value"]["instance"] = _instance(path)
        example["value"] |= {**PROBLEMS.get(slug, {}), **PROBLEMS_OF.get((name, slug), {})}
    content["examples"] = _prefixed(content["examples"], root_path)


def _prefixed(node: Any, root_path: str) -> Any:
    """Examples with the prefix before each path of the service."""
    if isinstance(node, list):
        return [_prefixed(each, root_path) for each in node]
    if isinstance(node, dict):
        return {
            key: root_path + value if key in ("type", "instance") else _prefixed(value, root_path)
            for key, value in node.items()
        }
    return node


def _instance(path: str) -> str:
    for name, value in {"{id}": "82216", "{slug}": "no-such-problem", "message-states/{token}": "***"}.items():
        path = path.replace(name, value)
    return path


def _describe_parameters(operation: Document, sandboxed: bool) -> None:
    known = {**PARAMETERS, **(SANDBOX_PARAMETERS if sandboxed else {})}
    for parameter in operation.get("parameters", []):
        examples = known.get((operation["operationId"], parameter["name"]))
        if examples:
            parameter["examples"] = _named(examples)
        if parameter["schema"].get("type") == "array":
            # The default, said for generators that have another one: id=1&id=2.
            parameter |= {"style": "form", "explode": True}


def _describe_conditions(operation: Document) -> None:
    operation["parameters"] += [_ref("parameters", name) for name in _REQUEST_HEADERS]
    ok = operation["responses"]["200"]
    ok["headers"] = {name: _ref("headers", name) for name in _STATE_HEADERS} | ok["headers"]
    unchanged = {"description": "The caller has this state already (`If-None-Match`).", "headers": ok["headers"]}
    operation["responses"] = dict(sorted((operation["responses"] | {"304": unchanged}).items()))


def _whole_bounds(node: Any) -> None:
    """Write bounds of whole numbers as such: FastAPI makes floats of them."""
    if isinstance(node, list):
        for each in node:
            _whole_bounds(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in ("minimum", "maximum") and isinstance(value, float) and value.is_integer():
                node[key] = int(value)
            _whole_bounds(value)


def _named(examples: Named) -> Document:
    return {name: {"summary": summary, "value": value} for name, (summary, value) in examples.items()}


def _ref(kind: str, name: str) -> Document:
    return {"$ref": f"#/components/{kind}/{name}"}
