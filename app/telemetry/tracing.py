"""Traces: FastAPI makes the server spans, this module the client span of each upstream request.

Nothing happens, and nothing is loaded beyond the API that FastAPI brings, unless a tracer provider is configured;
FastAPI configures one from the standard ``OTEL_…`` variables where the extra ``tracing`` is installed.
"""

import importlib.util
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from opentelemetry import propagate, trace

ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

caller_spans: ContextVar[Sequence[object]] = ContextVar("caller_spans", default=())
"""The spans of the callers that the current request to the platform is for."""

HIDDEN = "REDACTED"
"""OpenTelemetry's own word for what is left out of an attribute."""

_OWN_PATH = re.compile(
    r"/(?:messages/[0-9]{1,16}/state|messages/states(?:/events)?|livez|readyz|docs|openapi\.json|problems/[a-z-]{0,40})?"
)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")


def wanted() -> bool:
    """Whether the environment asks for traces."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    return not off and any(os.environ.get(name) for name in ENDPOINT_VARIABLES)


def available() -> bool:
    """Whether what the traces need is installed."""
    try:
        return importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:  # one of the packages above it
        return False


def usable() -> bool:
    """Whether traces are asked for and can be made."""
    return wanted() and available()


def has_provider() -> bool:
    """Whether somebody records spans: by the variables, or by a provider that was set in this process."""
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider)


def warnings(environment: Mapping[str, str]) -> list[str]:
    """What the variables ask for and nobody does, one line each."""
    if not wanted() or available():
        return []
    name = next(name for name in ENDPOINT_VARIABLES if environment.get(name))
    return [f"{name}: has no effect, since traces need the extra tracing: pip install '.[tracing]' in the source"]


def current_span() -> object:
    """The place in a trace of whoever asks; None outside a trace that is recorded."""
    span = trace.get_current_span()
    return span.get_span_context() if span.is_recording() else None


def own_trace_id() -> str | None:
    """The trace that the current request belongs to; None where nothing is traced."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def hide_request(scope: Mapping[str, Any]) -> None:
    """Take out of the server's span what may hold a secret: every query, and each path but the service's own.

    A token of the webhook stands in whatever path its caller has spelt wrongly, and a key in a query that should have
    been a header. FastAPI has put both into the span before anybody else is asked.
    """
    span = trace.get_current_span()
    if scope["query_string"]:
        span.set_attribute("url.query", HIDDEN)
    if _OWN_PATH.fullmatch(scope["path"]) is None:
        span.set_attribute("url.path", HIDDEN)


def trace_id_of(traceparent: bytes) -> str | None:
    """The trace id of a ``traceparent`` header (W3C Trace Context); None where it is malformed."""
    match = _TRACEPARENT.fullmatch(traceparent)
    return match[1].decode() if match and match[1] != b"0" * 32 else None


@contextmanager
def client_span(entries: int) -> Iterator[dict[str, str]]:
    """A span around one upstream request, linked to the requests that it serves; yields the headers to send.

    The span is a trace of its own: one upstream request serves many callers, and belongs to none of them.
    """
    links = [trace.Link(span) for span in caller_spans.get() if isinstance(span, trace.SpanContext)]
    if not links:
        yield {}
        return
    tracer = trace.get_tracer("message-state-proxy")
    with tracer.start_as_current_span(
        "POST state.php",
        context=trace.set_span_in_context(trace.INVALID_SPAN),
        kind=trace.SpanKind.CLIENT,
        links=links,
        attributes={"http.request.method": "POST", "message_state.entries": entries},
    ):
        headers: dict[str, str] = {}
        propagate.inject(headers)
        yield headers
