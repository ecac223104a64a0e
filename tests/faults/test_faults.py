"""Each fault of the catalogue, played over real sockets on both sides of the service."""

import asyncio
import gc
import logging
import socket
import ssl
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.lookup.engine import Engine
from app.lookup.waiter import Entry
from tests.faults.catalogue import FAULTS
from tests.faults.fault import STATE, Fault, Sees, Step, count
from tests.support.hostile import HostilePlatform, state_of, well
from tests.support.leftovers import nothing_left_behind, only_new_objects
from tests.support.platform import CONTENT_TYPE, SECRETS, TOKEN
from tests.support.served import Caller, Heard, JumpingClock, served
from tests.support.service import settings_for

__all__ = ["only_new_objects"]
pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).parent.parent / "support" / "platform.pem"
ALL = [fault for group in FAULTS.values() for fault in group]


@pytest.mark.parametrize("fault", ALL, ids=lambda fault: fault.name)
async def test_the_service_stays_calm_when_the_platform(
    fault: Fault, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, names_of_nobody: None
) -> None:
    if fault.tls == "trusted":
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    caplog.set_level(logging.DEBUG)
    platform = HostilePlatform(fault.behaviour, _tls() if fault.tls else None)
    clock = JumpingClock()
    async with nothing_left_behind(), platform.serve() as url:
        settings = settings_for(_address(fault, url), **fault.settings)
        async with served(settings, clock) as service:
            for step in fault.steps:
                clock.jump(step.later)
                if step.recovered:
                    platform.behaviour = well
                heard = await _do(step, service.caller)
                _check(step, heard)
                assert not [secret for secret in SECRETS for each in heard if secret.encode() in each.body]
            await _at_rest(service.engine)
            assert platform.open_connections <= settings.upstream_max_in_flight
            assert platform.most_in_flight <= settings.upstream_max_in_flight
        await _all_closed(platform)
    _check_traffic(fault, platform)
    failed = [each for each in caplog.records if hasattr(each, "fields") and "why" in each.fields]
    assert all(fault.why in each.fields["why"] for each in failed)
    assert failed or not fault.why
    assert not [secret for secret in SECRETS if secret in caplog.text]


async def _do(step: Step, caller: Caller) -> list[Heard]:
    if step.how == "in one batch":
        return [await caller.states(step.ids)]
    if step.how == "at once":
        return await asyncio.gather(*(caller.state(id_) for id_ in step.ids))
    if step.how == "leaving before the answer":
        await asyncio.gather(*(caller.leave(id_) for id_ in step.ids))
        return []
    if step.how == "at once, while as many others leave":
        leaving = asyncio.gather(*(caller.leave(id_) for id_ in step.ids))
        staying = await asyncio.gather(*(caller.state(id_) for id_ in step.ids))
        await leaving
        return staying
    return [await caller.state(id_) for id_ in step.ids]


def _check(step: Step, heard: list[Heard]) -> None:
    seen: Counter[Sees] = Counter()
    for each in heard:
        seen += _batch(step, each) if step.how == "in one batch" else Counter([_single(each.status, each.document)])
        if step.retry_after is not None and each.status >= 500:
            wanted = count(step.retry_after)
            assert wanted.least <= int(each.headers["retry-after"]) <= wanted.most, each
    for sees, wanted in ((sees, count(number)) for sees, number in step.sees.items()):
        assert wanted.least <= seen[sees] <= wanted.most, (sees, seen)
    assert seen.keys() <= step.sees.keys(), seen
    assert sum(seen.values()) == (len(step.ids) if step.sees else 0)
    if heard:
        assert max(each.seconds for each in heard) <= step.within
        assert step.median is None or statistics.median(each.seconds for each in heard) <= step.median


def _batch(step: Step, heard: Heard) -> Counter[Sees]:
    """One answer for each id; a request that failed as a whole failed for each of them."""
    document = heard.document
    if heard.status != 200:
        return Counter([_single(heard.status, document)] * len(step.ids))
    assert {each["id"] for key in ("states", "problems") for each in document[key]} == set(step.ids)
    entries = [_single(200, each) for each in document["states"]]
    return Counter(entries + [_single(each["status"], each) for each in document["problems"]])


def _single(status: int, document: dict[str, Any]) -> Sees:
    if status == 200:
        assert document["state"] == state_of(document["id"]), "an answer for another id"
        return STATE
    return Sees(document["status"], document["type"].removeprefix("/problems/"))


def _check_traffic(fault: Fault, platform: HostilePlatform) -> None:
    requests = count(fault.requests)
    assert requests.least <= len(platform.requests) <= requests.most, [len(each.ids) for each in platform.requests]
    if fault.connections is not None:
        connections = count(fault.connections)
        assert connections.least <= platform.connections <= connections.most
    for request in platform.requests:
        assert request.method == "POST"
        assert request.headers["content-type"] == CONTENT_TYPE
        assert {each["token"] for each in request.entries} == {TOKEN}


async def _at_rest(engine: Engine) -> None:
    """Once the last request upstream has ended nothing is queued, on its way or waited for."""
    async with asyncio.timeout(5):
        while engine.queue.in_flight or engine.dispatcher.in_flight or engine.dispatcher._readers:
            await asyncio.sleep(0.001)
        assert len(engine.queue) == 0
        # The thread that looked a name up has the error, and with its traceback all that waited, until it goes on.
        while _entries():
            await asyncio.sleep(0.01)


def _entries() -> list[Entry]:
    gc.collect()
    return [each for each in gc.get_objects() if type(each) is Entry]


async def _all_closed(platform: HostilePlatform) -> None:
    async with asyncio.timeout(5):
        while platform.open_connections:
            await asyncio.sleep(0.001)


def _address(fault: Fault, url: str) -> str:
    if fault.url is None:
        return url
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    return fault.url.format(port=url.split(":")[2].partition("/")[0], closed=closed)


def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def names_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that ends in ``.invalid`` does not exist (RFC 6761); asking a real resolver would leave this machine."""
    resolve = socket.getaddrinfo

    def without_invalid(host: Any, *more: Any, **named: Any) -> Any:
        if str(host).rstrip("b'").endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", without_invalid)
