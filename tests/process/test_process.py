"""``python -m app`` as a real process: the documented example, and bad inputs over a real socket."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.upstream.sandbox import PATH
from tests.support.processes import listening
from tests.support.running import free_port
from tests.support.scale import only_in_ci

SECRET = "s3cret-4711"
EXAMPLE = {
    "id": 82216,
    "state": "deliver",
    "outcome": "delivered",
    "final": False,
    "changed_at": "2021-04-26T15:15:03+03:00",
    "parts": 1,
    "price_per_part": "10.6000000",
}


@pytest.fixture(scope="module")
def platform_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The stand-alone sandbox with an account of its own."""
    port = free_port()
    account = ["--token", f"t-{SECRET}", "--login", f"l-{SECRET}", "--password", f"p-{SECRET}"]
    with listening(tmp_path_factory.mktemp("platform"), "app.upstream.sandbox", port, "--port", str(port), *account):
        yield f"http://127.0.0.1:{port}{PATH}"


@pytest.fixture(scope="module")
def sandboxed_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The service with its built-in sandbox, as ``make run`` starts it."""
    port = free_port()
    with listening(tmp_path_factory.mktemp("service"), "app", port, UPSTREAM_URL="sandbox:", PORT=str(port)):
        yield port


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"UPSTREAM_TOKEN": f"t-{SECRET}"}, id="token"),
        pytest.param(
            {"UPSTREAM_LOGIN": f"l-{SECRET}", "UPSTREAM_PASSWORD": f"p-{SECRET}"},
            id="login and password",
            marks=only_in_ci,
        ),
    ],
)
def test_before_a_platform_on_another_port_it_gives_the_documented_example(
    tmp_path: Path, platform_url: str, variables: dict[str, str]
) -> None:
    port = free_port()
    with listening(tmp_path, "app", port, UPSTREAM_URL=platform_url, PORT=str(port), **variables) as output:
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/messages/82216/state?detail=true", trust_env=False).json() == EXAMPLE
        batch = httpx.post(f"{base}/messages/states", json={"ids": [82216], "detail": True}, trust_env=False)
        assert batch.json() == {"states": [EXAMPLE], "problems": []}
        assert httpx.get(f"{base}/readyz", trust_env=False).status_code == 200
    lines = output.read_text().splitlines()
    unusual = [entry["message"] for entry in map(json.loads, lines) if entry["level"] != "info"]
    assert unusual == ["API_KEYS: is not set, so anyone who reaches the port may ask for any message"]
    assert any(f"listening on {base} " in line for line in lines)
    assert SECRET not in output.read_text()


@only_in_ci
def test_wrong_credentials_are_the_services_problem_and_never_shown(tmp_path: Path, platform_url: str) -> None:
    port = free_port()
    with listening(
        tmp_path, "app", port, UPSTREAM_URL=platform_url, PORT=str(port), UPSTREAM_TOKEN=f"wrong-{SECRET}"
    ) as output:
        response = httpx.get(f"http://127.0.0.1:{port}/messages/82216/state", trust_env=False)
    assert response.status_code == 502
    assert response.json()["type"] == "/problems/upstream-credentials-rejected"
    assert SECRET not in response.text + output.read_text()


GET = b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
POST = (
    b"POST /messages/states HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)


def posting(body: bytes) -> bytes:
    """A batch request with this body."""
    return POST % (len(body), body)


CHUNKED = (
    b"POST /messages/states HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n" + b"100001\r\n" + b" " * 0x100001 + b"\r\n0\r\n\r\n"
)
BAD_INPUTS: dict[str, tuple[bytes, int, str]] = {
    "NUL in an id": (GET % b"/messages/%00/state", 422, "invalid-request"),
    "NUL after an id": (GET % b"/messages/5%00/state", 422, "invalid-request"),
    "Arabic-Indic digits": (GET % b"/messages/%D9%A1/state", 422, "invalid-request"),
    "not UTF-8": (GET % b"/messages/%FF/state", 422, "invalid-request"),
    "a sign": (GET % b"/messages/+5/state", 422, "invalid-request"),
    "a leading zero": (GET % b"/messages/05/state", 422, "invalid-request"),
    "over the range": (GET % b"/messages/9007199254740992/state", 422, "invalid-request"),
    "an id of ten thousand digits": (GET % (b"/messages/" + b"9" * 10_000 + b"/state"), 422, "invalid-request"),
    "a bad query": (GET % b"/messages/5/state?detail=%00", 422, "invalid-request"),
    "an unknown path": (GET % b"/nowhere", 404, "route-not-found"),
    "a path above the root": (GET % b"/../../etc/passwd", 404, "route-not-found"),
    "a slash too many": (GET % b"/messages/5/state/", 404, "route-not-found"),
    "two slashes": (GET % b"//messages/5/state", 404, "route-not-found"),
    "a wrong method": ((GET % b"/messages/5/state").replace(b"GET", b"DELETE"), 405, "method-not-allowed"),
    "no body": (posting(b""), 422, "invalid-request"),
    "malformed JSON": (posting(b'{"ids": [1,'), 422, "invalid-request"),
    "deep nesting": (posting(b"[" * 200_000), 422, "invalid-request"),
    "a huge integer": (posting(b'{"ids": [' + b"9" * 100_000 + b"]}"), 422, "invalid-request"),
    "true as an id": (posting(b'{"ids": [true]}'), 422, "invalid-request"),
    "an extra key": (posting(b'{"ids": [1], "x": 1}'), 422, "invalid-request"),
    "a long body": (posting(b" " * (1024 * 1024 + 1)), 413, "request-too-large"),
    "a declared long body that does not come": (POST % (2**40, b""), 413, "request-too-large"),
    "a long body without length": (CHUNKED, 413, "request-too-large"),
}  # fmt: skip


def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; the status, headers and body that come back."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        with connection.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(": ")
                headers[name.lower()] = value
            return status, headers, stream.read(int(headers["content-length"]))


@pytest.mark.parametrize(("request_", "status", "slug"), BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_a_bad_input_over_a_real_socket_is_a_problem(
    sandboxed_port: int, request_: bytes, status: int, slug: str
) -> None:
    seen, headers, body = exchange(sandboxed_port, request_)
    assert seen == status
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == json.loads(body)["request_id"]
    assert json.loads(body)["type"] == f"/problems/{slug}"
    assert "server" not in headers


def test_after_all_bad_inputs_it_still_answers(sandboxed_port: int) -> None:
    assert exchange(sandboxed_port, GET % b"/messages/82216/state")[0] == 200
