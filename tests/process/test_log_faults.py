"""A real process whose standard error takes nothing: it serves, and ends, like any other."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.processes import environment
from tests.support.running import ROOT, free_port
from tests.support.scale import only_in_ci
from tests.support.scraping import Scrape

pytestmark = pytest.mark.anyio

REQUESTS = 500
"""Their lines are some 250 bytes each, and a pipe takes 65,536: twice as much as it takes."""


@asynccontextmanager
async def before(
    stderr: int | None, folder: Path, variables: Mapping[str, str] | None = None
) -> AsyncIterator[tuple["subprocess.Popen[bytes]", httpx.AsyncClient, str]]:
    """The service with this standard error: its process, a client, and where its metrics are."""
    port, metrics_port = free_port(), free_port()
    own = {"UPSTREAM_URL": "sandbox:", "PORT": str(port), "SHUTDOWN_GRACE": "2", **(variables or {})}
    # Closed by a shell: Popen has no way to say so.
    command = ["sh", "-c", 'exec "$0" -m app 2>&-', sys.executable] if stderr is None else [sys.executable, "-m", "app"]
    with subprocess.Popen(  # noqa: ASYNC220 - one for which no loop waits
        command, cwd=folder, env=environment(folder, own) | {"METRICS_PORT": str(metrics_port)}, stderr=stderr
    ) as process:
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            try:
                await until_ready(client)
                yield process, client, f"http://127.0.0.1:{metrics_port}/metrics"
            finally:
                process.kill()


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait until the service is ready."""
    async with asyncio.timeout(60):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)


async def ask_often(client: httpx.AsyncClient) -> None:
    """So many requests that a pipe is full, each answered. By hand: httpx takes ten times as long as the service."""
    at_a_time = 20
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    async with asyncio.timeout(60):
        for _ in range(REQUESTS // at_a_time):
            writer.write(b"GET /messages/82216/state HTTP/1.1\r\nHost: service\r\n\r\n" * at_a_time)
            for _ in range(at_a_time):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)\r\n", head)
                assert length is not None
                await reader.readexactly(int(length[1]))
    writer.close()
    await writer.wait_closed()


def ended(process: "subprocess.Popen[bytes]") -> float:
    """Let the process end, with 0. Returns after how many seconds."""
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    return time.monotonic() - begun


async def test_a_log_reader_that_stops_reading_stops_nothing_else(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    async with before(write_end, tmp_path) as (process, client, metrics):
        os.close(write_end)
        await ask_often(client)
        assert (await client.get("/livez")).status_code == 200
        scraped = Scrape((await client.get(metrics)).text)
        assert scraped.value("log_stuck_seconds") > 0
        assert ended(process) < 10
    os.close(read_end)


async def test_lines_are_written_again_once_somebody_reads(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    async with before(write_end, tmp_path) as (process, client, _):
        os.close(write_end)
        await ask_often(client)
        reading = asyncio.create_task(asyncio.to_thread(read_all, read_end))
        await ask_often(client)
        await asyncio.to_thread(ended, process)
        lines = (await reading).splitlines()
    os.close(read_end)
    # Each is whole, and none is missing: they wait in memory, up to 4 MiB.
    requests = [each for each in map(json.loads, lines) if each.get("route") == "/messages/{id}/state"]
    assert len(requests) == 2 * REQUESTS
    assert json.loads(lines[-1])["message"] == "stopped"


@only_in_ci
async def test_a_reader_that_comes_back_is_told_what_was_lost_before_what_comes_later(tmp_path: Path) -> None:
    """A pipe with a name: without a reader it refuses each write, and with a new one it takes them again."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_end = os.open(pipe, os.O_WRONLY)
    async with before(write_end, tmp_path) as (process, client, metrics):
        os.close(write_end)
        os.close(reader)
        await ask_in_turn(client, range(20))
        lost = await lost_lines(client, metrics, at_least=20)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        reading = asyncio.create_task(asyncio.to_thread(read_all, reader))
        await ask_in_turn(client, range(20, 40))
        # Told at most half a second later.
        await asyncio.sleep(0.6)
        await ask_in_turn(client, range(40, 60))
        await asyncio.to_thread(ended, process)
        lines = [json.loads(line) for line in (await reading).splitlines()]
    os.close(reader)
    asked = [int(each["request_id"]) for each in lines if each["message"] == "request" and each["request_id"].isdigit()]
    assert asked == list(range(20, 60))
    told = [each["message"] for each in lines if "log lines are lost" in each["message"]]
    assert told == [f"{lost:g} log lines are lost: standard error did not take them"]
    place = next(index for index, each in enumerate(lines) if each["message"] == told[0])
    assert place < next(index for index, each in enumerate(lines) if each.get("request_id") == "40")


async def ask_in_turn(client: httpx.AsyncClient, numbers: Iterable[int]) -> None:
    """One request after the other, each with its number as its id."""
    for number in numbers:
        answer = await client.get("/messages/82216/state", headers={"X-Request-ID": str(number)})
        assert answer.status_code == 200


async def lost_lines(client: httpx.AsyncClient, metrics: str, at_least: int) -> float:
    """How many lines are lost, once they are so many."""
    async with asyncio.timeout(20):
        while (lost := Scrape((await client.get(metrics)).text).value("log_lines_lost_total")) < at_least:
            await asyncio.sleep(0.02)
    return lost


COMPLAINING = """
import signal, threading, warnings

class Doomed:
    def __del__(self):
        raise ValueError("planted-webhook-token-77")

def complain(*_):
    warnings.warn("planted-webhook-token-77", RuntimeWarning)
    Doomed()
    thread = threading.Thread(target=int, args=("planted-webhook-token-77",))
    thread.start()
    thread.join(5)

signal.signal(signal.SIGUSR1, complain)
"""
"""Runs before the service: a signal lets Python write to standard error what nobody has caught, in three ways."""


async def test_what_python_itself_has_to_say_waits_for_no_reader_and_is_a_line_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(COMPLAINING)
    variables = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "WEBHOOK_TOKEN": "planted-webhook-token-77"}
    read_end, write_end = os.pipe()
    async with before(write_end, tmp_path, variables) as (process, client, metrics):
        os.close(write_end)
        await ask_often(client)
        assert Scrape((await client.get(metrics)).text).value("log_stuck_seconds") > 0
        process.send_signal(signal.SIGUSR1)
        await ask_often(client)
        reading = asyncio.create_task(asyncio.to_thread(read_all, read_end))
        await asyncio.to_thread(ended, process)
        text = (await reading).decode()
    os.close(read_end)
    messages = [json.loads(line)["message"] for line in text.splitlines()]
    assert [each for each in messages if each.startswith(("Python warns", "unhandled"))] == [
        "Python warns: [redacted]",
        "unhandled error where nobody can handle it",
        "unhandled error in a thread",
    ]
    assert "planted-webhook-token-77" not in text


CRASHING = "from app.server import start; start.open_metrics = 'not a function'; start.main()"


def test_a_crash_ends_with_1_although_nobody_reads_its_traceback(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_end, b"x" * 4096)
    os.set_blocking(write_end, True)
    variables = environment(tmp_path, {"UPSTREAM_URL": "sandbox:", "PORT": str(free_port())})
    command = [sys.executable, "-c", CRASHING]
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stderr=write_end) as process:
        try:
            assert process.wait(20) == 1
        finally:
            process.kill()
    os.close(write_end)
    os.close(read_end)


def read_all(descriptor: int) -> bytes:
    """What comes until the other end is closed."""
    text = b""
    while chunk := os.read(descriptor, 65536):
        text += chunk
    return text


@pytest.fixture(
    params=[
        pytest.param("a closed pipe", marks=only_in_ci),
        pytest.param("a full disk", marks=only_in_ci),
        "nothing at all",
    ]
)
def refusing(request: pytest.FixtureRequest) -> Iterator[int | None]:
    """A standard error that refuses every write."""
    if request.param == "nothing at all":
        yield None
        return
    if request.param == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        read_end, descriptor = os.pipe()
        os.close(read_end)
    yield descriptor
    os.close(descriptor)


async def test_a_standard_error_that_refuses_costs_lines_alone(refusing: int | None, tmp_path: Path) -> None:
    async with before(refusing, tmp_path) as (process, client, metrics):
        await ask_often(client)
        scraped = Scrape((await client.get(metrics)).text)
        assert (scraped.value("log_lines_lost_total") > 0) == (refusing is not None)
        ended(process)


def test_a_wrong_setting_ends_with_2_whoever_reads(refusing: int | None, tmp_path: Path) -> None:
    own = {"UPSTREAM_URL": "sandbox:", "PORT": "0"}
    command = [sys.executable, "-m", "app"]
    if refusing is None:
        command = ["sh", "-c", 'exec "$0" -m app 2>&-', sys.executable]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path, own), stderr=refusing, check=False)
    assert done.returncode == 2
