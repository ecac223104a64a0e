"""The Dockerfile: linted, held against the manifests and the settings, its health check run."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app.settings import Settings
from tests.support.addresses import has_ipv6
from tests.support.manifests.reading import ROOT, Documents, container_ports, pod, tool

Instruction = tuple[str, str]
BASE = re.compile(r"^ARG PYTHON=3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}$", re.MULTILINE)


def parse(dockerfile: str) -> list[Instruction]:
    """The instructions with their arguments; continued lines are joined, comments left out."""
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.startswith("#"))
    found = [line.partition(" ") for line in re.sub(r"\\\n\s*", "", lines).splitlines() if line]
    return [(name, arguments) for name, _, arguments in found]


def final_stage(dockerfile: str) -> list[Instruction]:
    """The instructions of the image itself."""
    instructions = parse(dockerfile)
    last = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[last:]


def complaints_about(dockerfile: str) -> list[str]:
    """What is wrong with a Dockerfile; nothing for ours."""
    whole, final = parse(dockerfile), final_stage(dockerfile)
    last = dict(final)
    copied = [arguments for name, arguments in whole if name == "COPY"]
    installs = next(index for index, (name, run) in enumerate(whole) if name == "RUN" and " install " in run)
    code = next(index for index, (name, what) in enumerate(whole) if name == "COPY" and what.endswith("app app"))
    environment = dict(each.split("=", 1) for name, each_ in final if name == "ENV" for each in shlex.split(each_))
    wrong = {
        "the base is not pinned": not BASE.search(dockerfile)
        or [base.split()[0] for name, base in whole if name == "FROM"] != ["python:${PYTHON}"] * 2,
        "the lock's hashes are not checked": "--require-hashes" not in whole[installs][1],
        "something would be built": "--only-binary=:all:" not in whole[installs][1],
        "a package cache stays": "--no-cache-dir" not in whole[installs][1],
        "a change of the code installs everything anew": code < installs,
        "more is copied than is needed": any(what.split()[-2] in {".", "./"} for what in copied),
        "an installer stays": not any(name == "RUN" and "pip uninstall --yes" in run for name, run in final),
        "the user is not a number above 0": not re.fullmatch(r"[1-9]\d*:[1-9]\d*", last.get("USER", "")),
        "nobody from outside reaches it": environment.get("HOST") != "0.0.0.0",
        "a shell stands between it and its signals": last.get("ENTRYPOINT") != '["python", "-m", "app"]',
        "a shell or curl checks its health": " CMD [" not in last.get("HEALTHCHECK", "") or "curl" in dockerfile,
        "nobody can tell its version": not {"VERSION", "REVISION"} <= {a.split("=")[0] for n, a in final if n == "ARG"}
        or not all(f"org.opencontainers.image.{each}=" in last["LABEL"] for each in ("title", "version", "revision")),
    }
    return [complaint for complaint, holds in wrong.items() if holds]


BREAKS = [
    ("the base is not pinned", "PYTHON=3.11.14-slim-bookworm", "PYTHON=3.11-slim"),
    ("the base is not pinned", "@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d", ""),
    ("the base is not pinned", "FROM python:${PYTHON}\n", "FROM python:3.12.1-slim-bookworm\n"),
    ("the lock's hashes are not checked", " --require-hashes", ""),
    ("something would be built", " --only-binary=:all:", ""),
    ("a package cache stays", " --no-cache-dir --require", " --require"),
    (
        "a change of the code installs everything anew",
        "COPY requirements.lock .",
        "COPY requirements.lock .\nCOPY app app",
    ),
    ("more is copied than is needed", "COPY requirements.lock .", "COPY . ."),
    ("an installer stays", "pip uninstall --yes", "pip list"),
    ("the user is not a number above 0", "USER 10001:10001\n", ""),
    ("the user is not a number above 0", "USER 10001:10001", "USER nobody"),
    ("the user is not a number above 0", "USER 10001:10001", "USER 0:0"),
    ("nobody from outside reaches it", "ENV HOST=0.0.0.0", "ENV HOST=127.0.0.1"),
    ("a shell stands between it and its signals", 'ENTRYPOINT ["python", "-m", "app"]', "ENTRYPOINT python -m app"),
    ("a shell or curl checks its health", 'CMD ["python", "-c",', "CMD curl"),
    ("nobody can tell its version", "ARG REVISION", "ARG COMMIT"),
    ("nobody can tell its version", "org.opencontainers.image.revision", "revision"),
]


def test_the_dockerfile_gives_no_cause_for_complaint(dockerfile: str) -> None:
    assert complaints_about(dockerfile) == []


@pytest.mark.parametrize(("complaint", "text", "instead"), BREAKS)
def test_a_broken_dockerfile_is_noticed(complaint: str, text: str, instead: str, dockerfile: str) -> None:
    assert text in dockerfile

    assert complaint in complaints_about(dockerfile.replace(text, instead))


def lint(dockerfile: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([tool("hadolint"), "-"], input=dockerfile, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing(dockerfile: str) -> None:
    done = lint(dockerfile)

    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(dockerfile: str) -> None:
    assert "DL3002" in lint(dockerfile.replace("USER 10001:10001", "USER root")).stdout


def test_image_and_pod_have_one_user(dockerfile: str, overlays: dict[str, Documents]) -> None:
    for documents in overlays.values():
        context = pod(documents)["securityContext"]
        assert f"{context['runAsUser']}:{context['runAsGroup']}" == dict(final_stage(dockerfile))["USER"]


def test_image_and_pod_have_the_same_ports(dockerfile: str, overlays: dict[str, Documents]) -> None:
    exposed = {int(port) for port in dict(final_stage(dockerfile))["EXPOSE"].split()}

    for documents in overlays.values():
        assert set(container_ports(documents).values()) == exposed


def test_the_images_variables_are_settings(dockerfile: str) -> None:
    names = {each.split("=")[0] for name, text in final_stage(dockerfile) if name == "ENV" for each in text.split()}

    assert {name.lower() for name in names - {"PATH", "PYTHONUNBUFFERED"}} <= set(Settings.model_fields)


def test_only_what_the_image_needs_reaches_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0] == "*"
    assert lines[1:] == ["!app", "!requirements.lock", "!LICENSE", "**/__pycache__"]


@contextmanager
def service(status: int, host: str = "127.0.0.1") -> Iterator[tuple[int, list[str]]]:
    """A stand-in that answers every request with this status; its port, and the paths that it was asked for."""
    asked: list[str] = []
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    class Server(HTTPServer):
        address_family = family

    with Server((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()


def health(dockerfile: str, port: str, host: str = "") -> int:
    """The exit status of the image's health check, in an environment whose proxy must not be asked."""
    program = json.loads(dict(final_stage(dockerfile))["HEALTHCHECK"].partition(" CMD ")[2])
    environment = {"HOST": host, "PORT": port, "http_proxy": "http://127.0.0.1:9/", "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, *program[1:]], env=environment, capture_output=True, check=False)
    return done.returncode


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_live_service_is_healthy_wherever_it_listens(host: str, dockerfile: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with service(200, host or "127.0.0.1") as (port, asked):
        assert health(dockerfile, str(port), host) == 0
    assert asked == ["/livez"]


def test_a_failing_service_is_not_healthy(dockerfile: str) -> None:
    with service(503) as (port, _):
        assert health(dockerfile, str(port)) == 1


def test_a_service_that_is_not_there_is_not_healthy(dockerfile: str) -> None:
    with service(200) as (port, _):
        pass
    assert health(dockerfile, str(port)) == 1
