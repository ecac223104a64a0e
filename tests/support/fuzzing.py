"""Requests made by schemathesis from the OpenAPI document, right ones and wrong ones, with every check that it has."""

from collections.abc import Iterator
from typing import Any

from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events, from_schema
from schemathesis.schemas import BaseSchema

KEY = "a-key-for-the-fuzzer"
STREAM = "/messages/states/events"

# The platform's failures are answers like others. A 500 never is.
_EXPECTED = ["2xx", "3xx", "4xx", "502", "503", "504"]


def configuration(
    examples: int, *, learning: bool = True, seed: int | None = None, url: str = ""
) -> SchemathesisConfig:
    """All phases, all checks, and a key; ``examples`` for each operation that has anything to vary.

    ``learning`` makes new requests of old answers: it finds more, and costs a third of the time.
    """
    fuzzing = {"extra-data-sources": {"responses": learning}, "error-feedback": {"enabled": learning}}
    settings: dict[str, Any] = {
        "headers": {"X-API-Key": KEY},
        "workers": 1,
        "continue-on-failure": True,
        "generation": {"max-examples": examples, "database": "none"},
        "checks": {"not_a_server_error": {"expected-statuses": _EXPECTED}},
        "phases": {"fuzzing": fuzzing},
    }
    settings |= {"base-url": url} if url else {}
    settings |= {"seed": seed} if seed is not None else {}
    return SchemathesisConfig.from_dict(settings)


def whole(body: Any) -> Any:
    """The body with ids written without a fraction.

    To JSON Schema 1.0 is an integer; the service refuses it on purpose, and the document cannot say so.
    """
    if isinstance(body, dict) and isinstance(body.get("ids"), list):
        ids = [int(id_) if isinstance(id_, float) and id_.is_integer() else id_ for id_ in body["ids"]]
        return {**body, "ids": ids}
    return body


def impatient(query: Any) -> Any:
    """The query without a wait: up to 50 s each would be the whole of the test's time."""
    if isinstance(query, dict) and str(query.get("wait", "")).isdigit():
        return {**query, "wait": 0}
    return query


def run(schema: BaseSchema) -> Iterator[tuple[int, list[str]]]:
    """Ask; for each scenario the number of requests and what was wrong with the answers.

    Streams are left out: one that is answered well does not end.
    """
    schema = schema.exclude(path=STREAM)
    schema.hook("map_body")(lambda _, body: whole(body))
    schema.hook("map_query")(lambda _, query: impatient(query))
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            recorder = event.recorder
            yield (
                len(recorder.interactions),
                [
                    f"{check.name}: {check.failure_info.failure if check.failure_info else ''}\n"
                    f"  {recorder.cases[case].value.as_curl_command()}"
                    for case, checks in recorder.checks.items()
                    for check in checks
                    if check.status != Status.SUCCESS
                ],
            )
        elif isinstance(event, events.NonFatalError | events.FatalError):
            yield 0, [str(event)]
