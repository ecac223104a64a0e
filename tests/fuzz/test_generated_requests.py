"""Whatever is asked, the answer is one that the OpenAPI document promises."""

import logging

import pytest
import schemathesis
from fastapi import FastAPI
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.schemas import BaseSchema

from app.main import create_app
from app.settings import Settings
from tests.support import fuzzing
from tests.support.scale import scaled

# 1,000 requests take 10 s of CPU and more, which CI has; `make fuzz` sends a hundred times as many. Elsewhere it is
# hardly more than the examples of the document and one request for each limit in it. How many it makes of as many
# examples is chance: 685 and more were seen in CI.
EXAMPLES, LEAST = scaled(100, 2), scaled(400, 100)
# The sandbox has an id that is never answered; waiting for it would find nothing.
TIMES = {"upstream_connect_timeout": 0.02, "upstream_attempt_timeout": 0.02, "request_deadline": 0.1}


def fuzz(app: FastAPI, examples: int, path: str | None = None) -> tuple[int, list[str]]:
    configuration = fuzzing.configuration(examples, learning=False)
    schema: BaseSchema = schemathesis.openapi.from_dict(app.openapi(), config=configuration)
    schema = schema.include(path=path) if path else schema
    schema.app = app
    requests, complaints = 0, []
    try:
        for asked, wrong in fuzzing.run(schema):
            requests += asked
            complaints += wrong
    finally:
        shutdown_lifespans()
    return requests, complaints


def test_generated_requests_get_only_promised_answers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    requests, complaints = fuzz(create_app(Settings.for_sandbox(api_keys=f"fuzzer:{fuzzing.KEY}", **TIMES)), EXAMPLES)

    assert complaints == []
    assert requests >= LEAST
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_a_service_that_lets_everybody_in_is_noticed() -> None:
    app = create_app(Settings.for_sandbox(**TIMES))
    app.openapi_schema = create_app(Settings.for_sandbox(api_keys=f"fuzzer:{fuzzing.KEY}", **TIMES)).openapi()
    _, complaints = fuzz(app, 1, path="/messages/states")

    assert any(complaint.startswith("ignored_auth") for complaint in complaints)


def test_an_id_with_a_fraction_is_the_only_thing_that_is_changed_before_it_is_sent() -> None:
    assert str(fuzzing.whole({"ids": [1.0, 2, 2.5, "3", True], "detail": 1.0})) == str(
        {"ids": [1, 2, 2.5, "3", True], "detail": 1.0}
    )
    assert fuzzing.whole([1.0]) == [1.0]
