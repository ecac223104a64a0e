"""Signals at any moment of a process's life: it ends with 0."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.platform import TOKEN, FakePlatform
from tests.support.processes import environment
from tests.support.running import free_port, running
from tests.support.scale import only_in_ci, scaled

pytestmark = pytest.mark.anyio

MOMENTS = scaled(11, 4)
"""So many of these modules. Each is loaded at a moment of its own, before the server handles signals itself."""
LOADED = [
    "prometheus_client",
    "fastapi",
    "app.main",
    "uvloop",
    "pydantic",
    "app.settings",
    "httpx",
    "asyncio",
    "app.lookup.engine",
    "aiohttp",
    "uvicorn",
]


@contextmanager
def started(folder: Path, *before: str, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """``python -m app`` that tells on standard error which module it has loaded; ``before``: what runs it."""
    own = {"UPSTREAM_URL": "sandbox:", "PORT": str(free_port()), "SHUTDOWN_GRACE": "1", **variables}
    with subprocess.Popen(
        [*before, sys.executable, "-X", "importtime", "-m", "app"],
        cwd=folder,
        env=environment(folder, own),
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_loaded(process: "subprocess.Popen[bytes]", module: str) -> None:
    """Wait for a module. What comes before ``python -m app`` runs its own first lines, nobody can handle."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.rpartition(b"|")[2].strip() == module.encode():
            return
    raise AssertionError(f"it never loaded {module}")


def ends_with_0(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it ends with 0, soon."""
    process.communicate(timeout=20)
    return process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=only_in_ci)])
@pytest.mark.parametrize("module", LOADED[:MOMENTS])
def test_a_signal_at_any_moment_of_the_start_ends_it_with_0(
    tmp_path: Path, number: signal.Signals, module: str
) -> None:
    with started(tmp_path) as process:
        until_loaded(process, module)
        process.send_signal(number)
        assert ends_with_0(process)


async def test_any_number_of_sigterms_ends_like_two(platform: FakePlatform, tmp_path: Path) -> None:
    async with running({"UPSTREAM_URL": "sandbox:"}, tmp_path) as service:
        # More than twenty: also when Python itself is ending, and has given back the handlers that it had.
        while service.process.returncode is None:
            # Not by the process's own method, which would take the status away from the loop that waits for it.
            with suppress(ProcessLookupError):
                os.kill(service.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.001)
        assert service.process.returncode == 0
        assert "Traceback" not in service.text


async def test_sighup_ends_like_sigterm_and_loses_no_request(platform: FakePlatform, tmp_path: Path) -> None:
    asked = asyncio.Event()

    async def take_time(_: object) -> None:
        asked.set()
        await asyncio.sleep(0.3)

    platform.before = take_time
    platform.knows(1)
    async with (
        platform.serve() as url,
        running({"UPSTREAM_URL": url, "UPSTREAM_TOKEN": TOKEN}, tmp_path) as service,
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
    ):
        answer = asyncio.create_task(client.get(f"{service.url}/messages/1/state"))
        await asked.wait()
        service.send(signal.SIGHUP)
        assert (await answer).status_code == 200
        assert await service.ended() == 0


def can_unshare() -> bool:
    """Whether a process here may become the first of its own namespace."""
    command = shutil.which("unshare")
    return command is not None and not subprocess.run(
        [command, "--user", "--map-root-user", "--pid", "--fork", "true"], check=False, capture_output=True
    ).returncode  # fmt: skip


@pytest.mark.skipif(not can_unshare(), reason="needs unshare(1) and the right to a namespace of process ids")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("is_serving", [False, True], ids=["while it starts", "while it serves"])
def test_as_the_first_process_of_a_container_it_ends_like_any_other(
    tmp_path: Path, number: signal.Signals, is_serving: bool
) -> None:
    port = free_port()
    unshare = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child")
    with started(tmp_path, *unshare, PORT=str(port)) as process:
        until_loaded(process, "prometheus_client")
        # By its number outside, as a container's runtime does.
        inside = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        if is_serving:
            until_it_listens(process, port)
        os.kill(inside, number)
        assert ends_with_0(process)


def until_it_listens(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait for a server on this port of loopback. What the process tells has to be read, or it would wait."""
    assert process.stderr is not None
    next(line for line in process.stderr if b'"listening on ' in line)
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("no server")


@contextmanager
def mute_collector() -> Iterator[str]:
    """A collector of traces that accepts every connection and never answers."""
    kept: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    for each in kept:
        each.close()


async def test_a_collector_that_does_not_answer_delays_no_exit(tmp_path: Path) -> None:
    grace = 1.0
    with mute_collector() as endpoint:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "SHUTDOWN_GRACE": str(grace), "UPSTREAM_URL": "sandbox:"}
        async with (
            running(variables, tmp_path) as service,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            assert (await client.get(f"{service.url}/messages/82216/state")).status_code == 200
            begun = time.monotonic()
            service.send(signal.SIGTERM)
            assert await service.ended() == 0
            # What a busy machine takes to notice an end is not the service's.
            assert time.monotonic() - begun < grace + 2 + 3
