"""Spans, in process: FastAPI's for each request, ours for each upstream request, and how they hang together."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.platform import SECRETS, FakePlatform, Reply
from tests.support.service import service

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is recorded while a provider is in force, as one configured from the variables would be."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # The public setter works once in a process, and would stay for every later test.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def of_kind(spans: InMemorySpanExporter, kind: SpanKind) -> list[ReadableSpan]:
    """The finished spans of a kind."""
    return [span for span in spans.get_finished_spans() if span.kind is kind]


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Trace and span id as they stand in a ``traceparent``."""
    context = span.get_span_context()
    assert context is not None
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


async def test_a_request_has_a_server_span_under_its_route_template(
    spans: InMemorySpanExporter, client: httpx.AsyncClient
) -> None:
    await client.get("/messages/82216/state")
    (span,) = of_kind(spans, SpanKind.SERVER)
    assert span.name == "GET /messages/{id}/state"
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 200


async def test_a_traceparent_continues_the_callers_trace(
    spans: InMemorySpanExporter, client: httpx.AsyncClient
) -> None:
    await client.get("/messages/82216/state", headers={"traceparent": TRACEPARENT})
    (span,) = of_kind(spans, SpanKind.SERVER)
    assert ids(span)[0] == TRACE
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) == PARENT


async def test_an_upstream_request_is_linked_to_every_request_that_it_serves(
    spans: InMemorySpanExporter, client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.knows(1, 2, 3)
    await asyncio.gather(*(client.get(f"/messages/{id_}/state") for id_ in (1, 2, 3, 3)))
    (span,) = of_kind(spans, SpanKind.CLIENT)
    servers = {ids(each) for each in of_kind(spans, SpanKind.SERVER)}
    links = {(trace.format_trace_id(each.context.trace_id), each.context.span_id) for each in span.links}
    assert len(servers) == 4
    # FastAPI has a span for the endpoint below the server's, so it is the trace that tells.
    assert {trace_id for trace_id, _ in links} == {trace_id for trace_id, _ in servers}
    assert span.attributes is not None
    assert span.attributes["message_state.entries"] == 3


async def test_the_upstream_request_carries_our_own_span_and_not_a_callers(
    spans: InMemorySpanExporter, client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    await client.get("/messages/82216/state", headers={"traceparent": TRACEPARENT, "tracestate": "vendor=private"})
    (span,) = of_kind(spans, SpanKind.CLIENT)
    (sent,) = platform.requests
    trace_id, span_id = ids(span)
    assert sent.headers["traceparent"].startswith(f"00-{trace_id}-{span_id}-")
    assert trace_id != TRACE
    assert "tracestate" not in sent.headers
    assert span.parent is None


async def test_a_retry_is_a_span_of_its_own_and_a_failed_attempt_is_marked(
    spans: InMemorySpanExporter, client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    platform.script.append(Reply(status=500))
    await client.get("/messages/82216/state")
    statuses = [span.status.status_code for span in of_kind(spans, SpanKind.CLIENT)]
    assert statuses == [StatusCode.ERROR, StatusCode.UNSET]


async def test_a_request_that_is_not_sampled_makes_no_upstream_span(
    spans: InMemorySpanExporter, client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    await client.get("/messages/82216/state", headers={"traceparent": f"{TRACEPARENT[:-2]}00"})
    assert spans.get_finished_spans() == ()
    assert "traceparent" not in platform.requests[0].headers


async def test_no_credential_is_in_a_span(spans: InMemorySpanExporter, platform: FakePlatform) -> None:
    platform.always = lambda request: Reply(request.body, 400)
    async with service(platform) as client:
        await client.get("/messages/1/state")
    shown = "".join(span.to_json() for span in spans.get_finished_spans())
    assert "POST state.php" in shown
    assert [secret for secret in SECRETS if secret in shown] == []


async def test_without_a_provider_the_upstream_request_carries_nothing(
    client: httpx.AsyncClient, platform: FakePlatform
) -> None:
    await client.get("/messages/82216/state", headers={"traceparent": TRACEPARENT})
    assert "traceparent" not in platform.requests[0].headers


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/message-states/{}",
        "/webhooks/message-states/{}/",
        "//webhooks/message-states/{}",
        "/Webhooks/message-states/{}",
        "/webhooks%2Fmessage-states%2F{}",
        "/webhook/message-states/{}",
        "/messages/../webhooks/message-states/{}",
        "/messages/{}/state",
        "/messages/states?token={}",
        "/messages?{}",
        "/messages/?x={}",
        "/messages/82216/state?api_key={}&detail=true",
        "/messages/states/events?id=1&{}",
        "/livez?{}",
    ],
)
async def test_no_spelling_of_a_path_and_no_query_brings_a_secret_into_a_span(
    spans: InMemorySpanExporter, platform: FakePlatform, path: str
) -> None:
    token = "planted-webhook-token-77"
    async with service(platform, webhook_token=token) as client:
        for method in ("GET", "HEAD", "POST"):
            request = client.build_request(method, "/")
            raw = path.format(token).encode()
            request.url = request.url.copy_with(raw_path=raw)
            await client.send(request)
    shown = "".join(span.to_json() for span in spans.get_finished_spans())
    assert token not in shown


async def test_the_path_of_a_lookup_is_still_in_its_span(
    spans: InMemorySpanExporter, client: httpx.AsyncClient
) -> None:
    await client.get("/messages/82216/state?detail=true")
    (span,) = of_kind(spans, SpanKind.SERVER)
    assert span.attributes is not None
    assert span.attributes["url.path"] == "/messages/82216/state"
    assert span.attributes["url.query"] == "REDACTED"
