"""A request whose log line cannot be written takes nothing from those that end at the same time."""

import asyncio
import logging

import httpx
import pytest

from app.telemetry.logs import ACCESS
from tests.support.platform import FakePlatform
from tests.support.scraping import scrape

pytestmark = pytest.mark.anyio

IDS = [f"request-{number}" for number in range(9)]


class Breaking(logging.Handler):
    """Fails for one request's line, and notes those of the others."""

    def __init__(self, breaks: str) -> None:
        super().__init__()
        self.breaks = breaks
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = str(record.__dict__)
        request_id = next(id_ for id_ in IDS if id_ in shown)
        if request_id == self.breaks:
            raise ZeroDivisionError
        self.lines.append(request_id)


@pytest.mark.parametrize("breaks", [IDS[0], IDS[4], IDS[-1]])
async def test_one_line_that_cannot_be_written_harms_no_other_request(
    client: httpx.AsyncClient,
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    breaks: str,
) -> None:
    handler = Breaking(breaks)
    access = logging.getLogger(ACCESS)
    monkeypatch.setattr(access, "handlers", [handler])
    monkeypatch.setattr(access, "propagate", False)
    caplog.set_level(logging.INFO, ACCESS)
    asked = [client.get("/messages/82216/state", headers={"X-Request-ID": id_}) for id_ in IDS]
    answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * len(IDS)
    assert len(platform.requests) == 1
    # A line may be written an iteration of the event loop after its request has ended.
    await asyncio.sleep(0)
    assert sorted(handler.lines) == [id_ for id_ in IDS if id_ != breaks]
    count = "http_request_duration_seconds_count"
    assert scrape(client).value(count, route="/messages/{id}/state", status="200") == len(IDS)
