"""The start: from settings to a server, in process."""

import logging
import socket
from collections.abc import Sequence

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from app.__main__ import bind, main, open_metrics
from app.main import credentials_of
from app.settings import Settings
from app.settings_loading import SettingsError, secrets_of
from app.upstream.sandbox import TOKEN
from tests.support.running import free_port
from tests.support.service import settings_for

pytestmark = pytest.mark.usefixtures("empty_folder", "own_logging")


def test_a_start_serves_on_the_bound_socket_and_logs_the_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[uvicorn.Config, list[tuple[str, int]]]] = []

    def run(server: uvicorn.Server, sockets: Sequence[socket.socket] = ()) -> None:
        ran.append((server.config, [each.getsockname() for each in sockets]))
        for each in sockets:
            each.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    port = free_port()
    for name, value in {
        "UPSTREAM_URL": "sandbox:",
        "PORT": str(port),
        "METRICS_PORT": "0",
        "UPSTREAM_TOKN": "x",
    }.items():
        monkeypatch.setenv(name, value)
    handlers = logging.getLogger().handlers
    main()
    ((config, addresses),) = ran
    assert {("127.0.0.1", port)} == {address[:2] for address in addresses}
    assert not config.access_log
    assert len(handlers) == 1


@pytest.mark.parametrize("variables", [{}, {"UPSTREAM_URL": "sandbox:", "PORT": "0"}])
def test_a_bad_start_prints_its_lines_and_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "; allowed: " in captured.err
    assert captured.out == ""


def test_a_port_in_use_is_a_readable_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            bind("127.0.0.1", port)
    assert caught.value.lines == [
        f"PORT: cannot listen on 127.0.0.1:{port} (Address already in use); allowed: a port that is free on it"
    ]


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
    assert caught.value.lines[0].startswith(f"METRICS_PORT: cannot listen on 127.0.0.1:{port} ")


def test_the_sandbox_gets_its_own_credentials_and_never_the_accounts() -> None:
    settings = Settings.for_sandbox(upstream_token="real")
    assert credentials_of(settings, secrets_of(settings)).fields == {"token": TOKEN}


def test_the_accounts_credentials_are_those_of_the_settings() -> None:
    settings = settings_for(upstream_login="l", upstream_password="p")
    assert credentials_of(settings, secrets_of(settings)).fields == {
        "login": "l",
        "password": "p",
    }
