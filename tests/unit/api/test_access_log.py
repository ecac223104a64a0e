"""When requests are told: at once, or together with others that end in the same iteration of the event loop."""

import asyncio
import logging

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access_log import AccessLog, line_of
from app.api.health import Lifecycle
from app.api.request_context import EveryRequest, RequestContext
from app.telemetry.logs import ACCESS
from app.telemetry.metrics import Metrics

pytestmark = pytest.mark.anyio


class Service:
    """Answers a path at once, or when it is let go; ``told`` are the ids of the requests that the log tells."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, ACCESS)
        self._caplog = caplog
        self.metrics = Metrics("1")
        self.let_go = asyncio.Event()
        self.access_log = AccessLog(self.metrics)
        self._app: ASGIApp = RequestContext(self._answer, EveryRequest(Lifecycle(), self.access_log))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await self.let_go.wait()
        await Response(b"ok")(scope, receive, send)

    async def ask(self, path: str, request_id: str) -> None:
        async def receive() -> Message:
            raise AssertionError("nobody reads the body")

        async def send(_: Message) -> None:
            await asyncio.sleep(0)

        headers = [(b"x-request-id", request_id.encode())]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "client": ("127.0.0.1", 1)}
        await self._app(scope, receive, send)

    @property
    def told(self) -> list[str]:
        records = [record for record in self._caplog.records if record.name == ACCESS]
        return [record.__dict__["fields"]["request_id"] for record in records]

    @property
    def counted(self) -> float:
        name = "message_state_http_request_duration_seconds_count"
        labels = {"route": "unmatched", "method": "GET", "status": "200"}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_request_alone_is_told_before_it_returns(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(caplog)
    await service.ask("/", "one")
    assert service.told == ["one"]
    assert service.counted == 1


async def test_others_that_end_in_the_same_turn_are_told_together(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(caplog)
    told: list[list[str]] = []

    async def end(request_id: str) -> None:
        state = {"request_id": request_id, "status": 200}
        scope: Scope = {"type": "http", "method": "GET", "headers": [], "client": None, "state": state}
        line = line_of(scope, 0.1, None)
        assert line is not None
        service.access_log.end(line)
        told.append(service.told)

    await asyncio.gather(*map(end, ("one", "two", "three")))
    assert told == [["one"]] * 3
    assert service.told == ["one", "two", "three"]


async def test_a_task_that_serves_several_requests_finds_each_of_them_told(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(caplog)
    await service.ask("/", "one")
    await service.ask("/", "two")
    assert service.told == ["one", "two"]


async def test_requests_that_end_together_each_have_their_own_line(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(caplog)
    ids = [f"request-{number}" for number in range(100)]
    asked = [asyncio.create_task(service.ask("/slow", id_)) for id_ in ids]
    await asyncio.sleep(0)
    service.let_go.set()
    await asyncio.gather(*asked)
    assert sorted(service.told) == sorted(ids)
    assert service.counted == 100


async def test_one_that_cannot_be_told_takes_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(caplog)
    count = service.metrics.http_request
    broken = iter([False, True])  # of those that are told together the first

    def count_but_once(route: str, method: str, status: int, seconds: float) -> None:
        if next(broken, False):
            raise ValueError
        count(route, method, status, seconds)

    monkeypatch.setattr(service.metrics, "http_request", count_but_once)
    asked = [asyncio.create_task(service.ask("/slow", f"request-{number}")) for number in range(5)]
    await asyncio.sleep(0)
    service.let_go.set()
    await asyncio.gather(*asked)
    assert service.counted == 4
