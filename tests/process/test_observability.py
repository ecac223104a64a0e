"""Metrics, log and traces of a real process."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.platform import TOKEN, FakePlatform
from tests.support.running import ROOT, Running, free_port, running
from tests.support.scale import only_in_ci

pytestmark = pytest.mark.anyio

SERVER, CLIENT = Span.SpanKind.SPAN_KIND_SERVER, Span.SpanKind.SPAN_KIND_CLIENT
ERROR = Status.StatusCode.STATUS_CODE_ERROR


def entries(service: Running) -> list[dict[str, object]]:
    """The log so far."""
    return [json.loads(line) for line in service.text.splitlines()]


def start(folder: Path, code: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m app``, or this code, until it ends by itself."""
    return subprocess.run(
        [sys.executable, *(("-c", code) if code else ("-m", "app"))],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "UPSTREAM_URL": "sandbox:", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


async def test_the_metrics_are_at_their_own_port_and_not_at_the_public_one(tmp_path: Path) -> None:
    port = free_port()
    async with (
        running({"UPSTREAM_URL": "sandbox:", "METRICS_PORT": str(port)}, tmp_path) as service,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await client.get(f"{service.url}/messages/82216/state")
        scraped = await client.get(f"http://127.0.0.1:{port}/metrics")
        public = await client.get(f"{service.url}/metrics")
    assert scraped.status_code == 200
    assert scraped.headers["content-type"].startswith("text/plain")
    assert 'message_state_lookups_total{source="upstream"} 1.0' in scraped.text
    assert "process_resident_memory_bytes" in scraped.text
    assert public.status_code == 404


@only_in_ci
def test_a_metrics_port_in_use_ends_the_start_with_a_readable_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = start(tmp_path, PORT=str(free_port()), METRICS_PORT=str(port))
    assert done.returncode == 2
    address = f"127.0.0.1:{port} (Address already in use)"
    told = "a port that is free on it, or 0 for no metrics; each instance on a machine needs one of its own"
    assert done.stderr == f"METRICS_PORT: cannot listen on {address}; allowed: {told}\n"


def test_without_variables_for_traces_nothing_of_them_is_loaded(tmp_path: Path) -> None:
    code = """
import asyncio, sys, httpx
from app.main import create_app
from app.settings import Settings
async def main():
    app = create_app(Settings.for_sandbox())
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        assert (await client.get("http://x/messages/82216/state")).status_code == 200
asyncio.run(main())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""
    done = start(tmp_path, code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A stand-in for an OpenTelemetry collector: its address, and what it was sent."""
    received: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()


async def test_spans_are_exported_where_the_variable_asks_for_it(platform: FakePlatform, tmp_path: Path) -> None:
    spans = (b"POST state.php", b"GET /messages/{id}/state")
    with collector() as (endpoint, received):
        variables = {"UPSTREAM_TOKEN": TOKEN, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with (
            platform.serve() as url,
            running({**variables, "UPSTREAM_URL": url}, tmp_path) as service,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            await client.get(f"{service.url}/messages/82216/state")
            async with asyncio.timeout(20):
                while not all(span in b"".join(body for _, body in received) for span in spans):
                    await asyncio.sleep(0.05)
        logged = [each for each in entries(service) if each["message"] == "request"]
    assert {path for path, _ in received} == {"/v1/traces"}
    sent = b"".join(body for _, body in received)
    assert TOKEN.encode() not in sent
    # The access line names the trace although the caller did not.
    lookup = next(each for each in logged if each["route"] == "/messages/{id}/state")
    assert bytes.fromhex(str(lookup["trace_id"])) in sent
    assert platform.requests[0].headers["traceparent"]


def exported(received: list[tuple[str, bytes]]) -> list[Any]:
    """The spans that a collector was sent."""
    spans: list[Any] = []
    for _, body in received:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    return spans


async def test_who_waits_is_one_server_span_for_as_long_as_it_waits(platform: FakePlatform, tmp_path: Path) -> None:
    platform.knows(1, 2, state="send")
    names = {"GET /messages/{id}/state": 2.0, "GET /messages/states/events": 0.0}  # and for how many seconds at least
    with collector() as (endpoint, received):
        variables = {"UPSTREAM_TOKEN": TOKEN, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with (
            platform.serve() as url,
            running({**variables, "UPSTREAM_URL": url, "PENDING_TTL": "1"}, tmp_path) as service,
            httpx.AsyncClient(trust_env=False, timeout=30) as client,
        ):

            async def stream() -> None:
                asked = client.stream("GET", f"{service.url}/messages/states/events?id=2")
                async with asked as response:
                    begun = time.monotonic()
                    async for line in response.aiter_lines():
                        if line.startswith('data: {"id"'):
                            platform.knows(2, state="not_deliver")  # final: the next look ends the stream
                    assert response.status_code == 200
                    names["GET /messages/states/events"] = time.monotonic() - begun - 0.2
                    assert names["GET /messages/states/events"] > 0.1

            waited, _ = await asyncio.gather(client.get(f"{service.url}/messages/1/state?wait=2"), stream())
            assert waited.status_code == 200
            async with asyncio.timeout(20):
                while names.keys() - {each.name for each in exported(received)}:
                    await asyncio.sleep(0.05)
    spans = exported(received)
    servers = {each.name: each for each in spans if each.kind == SERVER and each.name in names}
    assert len([each for each in spans if each.kind == SERVER and each.name in names]) == 2
    clients = [each for each in spans if each.kind == CLIENT]
    for name, least in names.items():
        server = servers[name]
        attributes = {each.key: each.value for each in server.attributes}
        assert attributes["http.response.status_code"].int_value == 200
        assert server.status.code != ERROR
        assert least <= (server.end_time_unix_nano - server.start_time_unix_nano) / 1e9 < least + 2
        # The upstream request is a trace of its own, linked to whom it serves.
        assert (server.trace_id, server.span_id) in {
            (link.trace_id, link.span_id) for each in clients for link in each.links
        }
