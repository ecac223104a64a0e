"""The start: from settings to a server, in process."""

import contextlib
import gc
import importlib.util
import json
import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from app.server.start import bind, main, open_metrics
from app.service import _credentials
from app.settings import Settings
from app.settings.loading import SettingsError
from app.settings.rotation import Secrets
from app.upstream.sandbox import TOKEN
from tests.support.running import free_port
from tests.support.service import settings_for

pytestmark = pytest.mark.usefixtures("empty_folder", "own_logging")

ACCOUNT = "planted-token-2f7a"


class Served(NamedTuple):
    """What a server was started with."""

    config: uvicorn.Config
    addresses: set[tuple[str, int]]
    listening: set[int]
    """The ports on which the process listened already; the server's own come later."""


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Served]:
    """Start with these variables as far as a server that does not run."""
    ran: list[Served] = []

    def run(server: uvicorn.Server, sockets: Sequence[socket.socket] = ()) -> None:
        ran.append(Served(server.config, {each.getsockname()[:2] for each in sockets}, listening_ports()))
        for each in sockets:
            each.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)

    def start_with(**variables: str) -> Served:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        main()
        return ran.pop()

    return start_with


def listening_ports() -> set[int]:
    """The ports on which this process listens, as Linux tells them."""
    if not Path("/proc/self/net/tcp").exists():
        pytest.skip("needs Linux' /proc to see who listens")
    sockets = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            sockets.add(descriptor.readlink().name)
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].split(":")[1], 16) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_a_start_serves_on_the_bound_socket_and_logs_the_warnings(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    handlers = logging.getLogger().handlers
    served = start(UPSTREAM_URL="sandbox:", PORT=str(port), METRICS_PORT="0", UPSTREAM_TOKN="x")
    assert served.addresses == {("127.0.0.1", port)}
    assert not served.config.access_log
    assert len(handlers) == 1
    assert "UPSTREAM_TOKN" in capfd.readouterr().err


def test_metrics_port_0_listens_nowhere_else(start: Callable[..., Served]) -> None:
    before = listening_ports()
    served = start(UPSTREAM_URL="sandbox:", PORT=str(free_port()), METRICS_PORT="0")
    assert served.listening - before == set()


def test_the_start_tells_the_effective_settings_without_secrets(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str]
) -> None:
    platform = {"UPSTREAM_URL": "https://platform.test/state.php?key=planted-key", "UPSTREAM_TOKEN": ACCOUNT}
    more = {"PORT": str(free_port()), "METRICS_PORT": "0", "LOG_LEVEL": "debug", "PENDING_TTL": "3"}
    start(**platform, **more)
    log = capfd.readouterr().err
    (settings,) = [each["settings"] for each in map(json.loads, log.splitlines()) if "settings" in each]
    assert (settings["pending_ttl"], settings["upstream_token"]) == (3, "set")
    assert settings["upstream_url"] == "https://platform.test/state.php"
    assert [secret for secret in (ACCOUNT, "planted-key") if secret in log] == []


@pytest.fixture
def bad_start(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Start with these variables, which must end with status 2; what it prints to standard error, and nowhere else."""

    def start_with(**variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        return captured.err

    return start_with


@pytest.mark.parametrize("variables", [{}, {"UPSTREAM_URL": "sandbox:", "PORT": "0"}])
def test_a_bad_start_prints_its_line_and_exits_with_2(bad_start: Callable[..., str], variables: dict[str, str]) -> None:
    printed = bad_start(**variables)
    assert printed.count("\n") == 1
    assert "; allowed: " in printed


def test_a_start_with_many_mistakes_prints_a_line_for_each(bad_start: Callable[..., str]) -> None:
    printed = bad_start(PORT=ACCOUNT, UPSTREAM_URL=f"ftp://{ACCOUNT}", UPSTREAM_LOGIN=ACCOUNT, LOG_LEVEL=ACCOUNT)
    names = [line.partition(":")[0] for line in printed.splitlines()]
    assert names == ["PORT", "UPSTREAM_URL", "UPSTREAM_PASSWORD", "LOG_LEVEL"]
    assert ACCOUNT not in printed


def test_one_port_for_callers_and_metrics_is_a_readable_line(bad_start: Callable[..., str]) -> None:
    port = str(free_port())
    printed = bad_start(UPSTREAM_URL="sandbox:", PORT=port, METRICS_PORT=port)
    assert printed == "METRICS_PORT: is the same as PORT; allowed: another one, or 0 for no metrics\n"


def test_traces_without_their_extra_are_a_warning_and_not_the_end(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> object:
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(name)
        return find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    start(UPSTREAM_URL="sandbox:", PORT=str(free_port()), METRICS_PORT="0", **endpoint)
    assert warnings_in(capfd.readouterr().err)[-1] == (
        "OTEL_EXPORTER_OTLP_ENDPOINT: has no effect, since traces need the extra tracing: pip install '.[tracing]' in "
        "the source"
    )


def warnings_in(log: str) -> list[str]:
    """The messages of the warnings and errors, in order."""
    lines = [json.loads(line) for line in log.splitlines()]
    return [line["message"] for line in lines if line["level"] in {"warning", "error"}]


def test_the_sandbox_beside_real_credentials_is_an_error_in_the_log(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str]
) -> None:
    start(UPSTREAM_URL="sandbox:", UPSTREAM_TOKEN=ACCOUNT, PORT=str(free_port()), METRICS_PORT="0")
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines[0]["level"] == "error"
    assert "EVERY ANSWER IS MADE UP" in lines[0]["message"]


def test_the_start_names_the_callers_that_have_a_key(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str]
) -> None:
    keys = "shop:planted-key-4be1f0,crm:planted-key-77c2aa"
    start(UPSTREAM_URL="sandbox:", API_KEYS=keys, PORT=str(free_port()), METRICS_PORT="0")
    log = capfd.readouterr().err
    assert "callers with a key: shop, crm" in log
    assert "planted-key" not in log


@pytest.mark.parametrize(("host", "told"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_a_start_on_loopback_says_that_nobody_else_gets_there(
    start: Callable[..., Served], capfd: pytest.CaptureFixture[str], host: str, told: bool
) -> None:
    start(UPSTREAM_URL="sandbox:", HOST=host, PORT=str(free_port()), METRICS_PORT="0")
    assert ("HOST is a loopback address" in capfd.readouterr().err) == told


def test_a_port_without_the_right_to_it_says_so(bad_start: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(socket.socket):
        def bind(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", Refused)
    printed = bad_start(UPSTREAM_URL="sandbox:", PORT="80")
    assert printed == (
        "PORT: cannot listen on 127.0.0.1:80 (this user has no right to ports below 1024); allowed: a port from 1024 "
        "on, or the capability CAP_NET_BIND_SERVICE\n"
    )


def test_a_port_in_use_is_a_readable_line(bad_start: Callable[..., str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        printed = bad_start(UPSTREAM_URL="sandbox:", PORT=str(port))
    address = f"127.0.0.1:{port} (Address already in use)"
    assert printed == f"PORT: cannot listen on {address}; allowed: a port that is free on it\n"


def test_a_host_that_is_none_is_a_readable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingsError) as caught:
        bind("nowhere.invalid", 8000)
    assert caught.value.lines == [
        "HOST: cannot listen on nowhere.invalid:8000 (Name or service not known); allowed: an address of this machine"
    ]


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_cannot_be_a_name_is_a_readable_mistake(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        bind(host, free_port())
    (line,) = caught.value.lines
    assert line.startswith(f"HOST: cannot listen on {host}:")


def test_a_foreign_address_is_a_readable_line() -> None:
    with pytest.raises(SettingsError) as caught:
        bind("192.0.2.1", free_port())
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith("HOST: cannot listen on 192.0.2.1:")


def test_a_metrics_port_in_use_is_a_readable_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            open_metrics(CollectorRegistry(), "127.0.0.1", port)
    (line,) = caught.value.lines
    assert line.startswith(f"METRICS_PORT: cannot listen on 127.0.0.1:{port} ")
    assert line.endswith("or 0 for no metrics; each instance on a machine needs one of its own")


def test_the_sandbox_gets_its_own_credentials_and_never_the_accounts() -> None:
    settings = Settings.for_sandbox(upstream_token="real")
    assert _credentials(settings, Secrets(settings)).fields == {"token": TOKEN}


def test_the_accounts_credentials_are_those_of_the_settings() -> None:
    settings = settings_for(upstream_login="l", upstream_password="p")
    assert _credentials(settings, Secrets(settings)).fields == {
        "login": "l",
        "password": "p",
    }


def test_the_garbage_collector_rests_only_while_the_modules_load(start: Callable[..., Served]) -> None:
    before = gc.get_freeze_count()
    start(UPSTREAM_URL="sandbox:", PORT=str(free_port()), METRICS_PORT="0")
    assert gc.isenabled()
    assert gc.get_freeze_count() > before
    gc.unfreeze()
