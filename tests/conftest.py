"""What every test stands on: an environment without settings, the fake platform, and the service before it."""

import logging
import os
import ssl
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings

from app.settings import Settings
from tests.support.platform import FakePlatform
from tests.support.scale import scaled
from tests.support.service import service

ROOT = Path(__file__).parent.parent

# No deadline: the machines that run this are shared. The fixture check is off because the service keeps nothing
# between two requests that an example could trip over.
EXAMPLES = scaled(60, 25)
settings.register_profile(
    "suite",
    deadline=None,
    max_examples=EXAMPLES,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def environment_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own settings and proxies must not decide what a test sees."""
    for name in list(os.environ):
        folded = name.lower()
        read = folded in Settings.model_fields or folded.startswith(("upstream_", "otel_", "ssl_cert_", "prometheus_"))
        if read or folded.endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def authorities_read_once() -> Iterator[None]:
    """Reading the certificates of all authorities takes 30 ms; many clients do so, and hardly one speaks TLS."""
    read = httpx.create_ssl_context
    known: dict[object, ssl.SSLContext] = {}

    def context(**options: Any) -> ssl.SSLContext:
        if options:
            return read(**options)
        named = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if named not in known:
            known[named] = read()
        return known[named]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx, "create_ssl_context", context)
        yield


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without ``.env``, in which ``secrets`` takes the place of ``/run/secrets``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets").mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "secrets"))
    return tmp_path


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Let a test configure the process's logging, and put it back afterwards."""
    names = ("", "httpx", "httpcore", "uvicorn", "uvicorn.error", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each, each.handlers[:], each.level, each.propagate) for each in loggers]
    hooks = warnings.showwarning, sys.excepthook, sys.unraisablehook, threading.excepthook
    logging.getLogger().handlers.clear()
    yield
    warnings.showwarning, sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for each, handlers, level, propagate in before:
        each.handlers[:] = handlers
        each.setLevel(level)
        each.propagate = propagate


@pytest.fixture
def anyio_backend() -> str:
    """The service runs on asyncio and nothing else."""
    return "asyncio"


@pytest.fixture
def platform() -> FakePlatform:
    """A platform that knows the documented example."""
    fake = FakePlatform()
    fake.knows(82216)
    return fake


@pytest.fixture
async def client(platform: FakePlatform) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service in front of the fake platform."""
    async with service(platform) as started:
        yield started


@pytest.fixture
async def sandboxed() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the service with its built-in sandbox."""
    async with service() as started:
        yield started
