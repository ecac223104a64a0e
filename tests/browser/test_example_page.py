"""The example page in a real browser: another origin than the service, so everything goes through CORS."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Page, Request, expect

from tests.support.axe import needs_axe, violations
from tests.support.browser import PATIENCE_MS, browsing, each_look, focused, needs_chromium, sideways
from tests.support.example import build, needs_npm, served
from tests.support.running import Running, running
from tests.support.scale import only_in_ci

pytestmark = [pytest.mark.anyio, needs_chromium, needs_npm, only_in_ci]

KEY = "a-key-for-the-browser"
TOKEN = "a-token-for-the-browser"
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("example")
    build(folder)
    with served(folder) as address:
        yield address


async def show(page: Page, service: str, ids: str, key: str = "") -> None:
    await page.get_by_label("Service").fill(service)
    await page.get_by_label("API key").fill(key)
    await page.get_by_label("Message numbers").fill(ids)
    await page.get_by_role("button", name="Show").click()


def sandbox(origin: str, **variables: str) -> dict[str, str]:
    return {"UPSTREAM_URL": "sandbox:", "CORS_ORIGINS": origin, **variables}


def hooked(origin: str, **variables: str) -> dict[str, str]:
    """A service whose messages change when a test says so (``report``), and no round comes in between."""
    return sandbox(origin, WEBHOOK_TOKEN=TOKEN, PENDING_TTL="3600", DELIVERED_TTL="3600", **variables)


async def report(service: Running, id_: int, state: str) -> None:
    """Play the platform that reports a change."""
    async with httpx.AsyncClient(trust_env=False) as client:
        reports = [{"id_sms": str(id_), "time": "2021-04-26 16:00:00", "state": state}]
        answer = await client.post(f"{service.url}/webhooks/message-states/{TOKEN}", json=reports)
    assert answer.json() == [{"id_sms": id_}]


def requests(page: Page) -> list[str]:
    """What the page asks for from now on; the icon comes when the browser has time for it."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if not request.url.endswith("/favicon.svg"):
            asked.append(request.url)

    page.on("request", note)
    return asked


async def test_states_problems_and_final_ones_are_told_apart(origin: str, tmp_path: Path) -> None:
    async with running(sandbox(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        await show(page, service.url, "82216, 82213\n82215 82218")

        rows = page.locator("#rows tr")
        await expect(rows).to_have_count(4)
        await expect(rows.nth(0)).to_contain_text("✓ delivered")
        await expect(rows.nth(0)).to_contain_text("10.6000000")
        await expect(rows.nth(1)).to_contain_text("not_deliver · final")
        await expect(rows.nth(2)).to_contain_text("? unknown")
        await expect(rows.nth(3)).to_contain_text("Message not found")
        link = rows.nth(3).get_by_role("link")
        await expect(link).to_have_attribute("href", f"{service.url}/problems/message-not-found")
        await expect(page.locator("#summary")).to_contain_text("3 of 4 known, 1 final.")


async def test_a_change_is_shown_without_a_reload_and_without_another_request(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        asked = requests(page)
        await show(page, service.url, "82210 82212")
        row = page.locator("#rows tr").first
        await expect(row).to_contain_text("… pending")
        await expect(page.locator("#connection")).to_have_text("● live")
        await expect(page.get_by_role("status")).to_have_text(
            "Asking for 2 messages. Message 82210: pending. Message 82212: delivered."
        )

        await report(service, 82210, "deliver")
        await expect(row).to_contain_text("✓ delivered")
        await expect(row).to_contain_text("10.6000000")
        await expect(page.get_by_role("status")).to_have_text("Message 82210: delivered.")

        await report(service, 82210, "read")
        await expect(row).to_contain_text("read · final")
        await expect(page.locator("#summary")).to_contain_text("2 of 2 known, 2 final.")
        await expect(page.locator("#connection")).to_have_text("✓ complete")
        await expect(page.locator("#pause")).to_be_hidden()
        assert asked == [f"{service.url}/messages/states/events?id=82210&id=82212&detail=true"]


async def test_a_page_comes_back_after_a_restart_and_misses_nothing(origin: str, tmp_path: Path) -> None:
    async with browsing() as (page, watch):
        watch.forgive("/messages/states/events")
        await page.clock.install()
        await page.goto(origin)
        asked = requests(page)
        async with running(hooked(origin, SHUTDOWN_GRACE="0"), tmp_path) as service:
            await show(page, service.url, "82210 82213 82218")
            await expect(page.locator("#connection")).to_have_text("● live")
            await expect(page.locator("#summary")).to_contain_text("2 of 3 known, 1 final.")

            service.send(signal.SIGTERM)
            await expect(page.locator("#connection")).to_have_text("! reconnecting")
            await expect(page.locator("#summary")).to_contain_text("may be out of date")
            await expect(page.locator("#rows tr").first).to_contain_text("… pending")
            assert await service.ended() == 0

        await page.clock.fast_forward(60_000)
        failure = page.get_by_role("alert").filter(has_text="cannot be reached")
        await expect(failure).to_be_visible()

        async with running(hooked(origin), tmp_path, port=urlsplit(service.url).port) as service:
            await report(service, 82210, "read")
            await page.clock.fast_forward(60_000)
            await expect(page.locator("#rows tr").first).to_contain_text("read · final")
            await expect(page.locator("#connection")).to_have_text("✓ complete")
            await expect(failure).to_be_hidden()
            await expect(page.get_by_role("status")).to_contain_text("Connected again.")
        # What was final or unknown before is not asked for again.
        assert set(asked[1:]) == {f"{service.url}/messages/states/events?id=82210&detail=true"}


async def test_a_connection_that_breaks_or_falls_silent_is_opened_again(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, watch):
        await page.clock.install()
        await page.goto(origin)
        asked = requests(page)
        await show(page, service.url, "82210")
        connection = page.locator("#connection")
        await expect(page.locator("#rows tr")).to_contain_text("… pending")

        await page.clock.fast_forward(46_000)
        await expect(connection).to_have_text("! reconnecting")
        await page.clock.fast_forward(2_000)
        await expect(connection).to_have_text("● live")
        assert len(asked) == 2

        watch.forgive("/messages/states/events")
        service.process.kill()
        await expect(connection).to_have_text("! reconnecting")
        await expect(page.locator("#rows tr")).to_contain_text("… pending")


async def test_a_pause_ends_the_stream_and_going_on_opens_it_again(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        await show(page, service.url, "82210")
        await expect(page.locator("#connection")).to_have_text("● live")
        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#connection")).to_have_text("‖ paused")

        await report(service, 82210, "deliver")
        await page.get_by_role("button", name="Go on").click()
        await expect(page.locator("#connection")).to_have_text("● live")
        await expect(page.locator("#rows tr")).to_contain_text("✓ delivered")


async def test_a_refusal_is_tried_again_only_where_it_passes_and_when_it_says(origin: str, tmp_path: Path) -> None:
    closed = sandbox(origin, API_KEYS=f"page:{KEY}", RATE_LIMIT="1")
    async with running(closed, tmp_path) as service, browsing() as (page, watch):
        watch.forgive("/messages/states/events")
        await page.clock.install()
        await page.goto(origin)
        asked = requests(page)
        await show(page, service.url, "82210")
        failure = page.get_by_role("alert").filter(has_text="Not authenticated")
        await expect(failure.get_by_role("link")).to_have_attribute("href", f"{service.url}/problems/unauthenticated")
        await expect(page.locator("#connection")).to_have_text("✕ not connected")
        await expect(page.locator("#pause")).to_be_hidden()
        await page.clock.fast_forward(60_000)
        assert len(asked) == 1

        # The first stream takes the caller's quota for a minute.
        numbers = " ".join(str(1000 + 10 * n) for n in range(60))
        await show(page, service.url, numbers, KEY)
        await expect(page.locator("#connection")).to_have_text("● live")
        await expect(failure).to_be_hidden()
        await show(page, service.url, numbers, KEY)
        await expect(page.get_by_role("alert").filter(has_text="Too many requests")).to_be_visible()
        await expect(page.locator("#summary")).to_contain_text("Next try")
        await page.clock.fast_forward(30_000)
        assert len(asked) == 3
        async with page.expect_request("**/events?*"):
            await page.clock.fast_forward(60_000)


async def test_more_messages_than_a_stream_carries_take_several(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        asked = requests(page)
        numbers = [1000 + 10 * n for n in range(1, 102)]
        await show(page, service.url, " ".join(map(str, numbers)))
        await expect(page.locator("#summary")).to_contain_text("101 of 101 known, 0 final.")
        await expect(page.get_by_role("status")).to_contain_text("messages changed.")
        assert sorted(url.count("id=") for url in asked) == [1, 100]

        await report(service, numbers[0], "deliver")
        await report(service, numbers[-1], "not_deliver")
        await expect(page.locator("#rows tr").first).to_contain_text("✓ delivered")
        await expect(page.locator("#rows tr").last).to_contain_text("✕ failed")

        await show(page, service.url, " ".join(map(str, range(1, 502))))
        await expect(page.locator("#ids-error")).to_have_text("At most 500 numbers at a time.")


async def test_a_page_of_an_origin_that_is_not_allowed_says_so(origin: str, tmp_path: Path) -> None:
    async with running(sandbox("https://elsewhere.example"), tmp_path) as service, browsing() as (page, watch):
        await page.goto(origin)
        await show(page, service.url, "82216")
        await expect(page.get_by_role("alert").filter(has_text=f"CORS_ORIGINS name {origin}")).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        assert any("blocked by CORS policy" in complaint for complaint in watch.complaints)
        watch.complaints.clear()


EVENTS = "event: state\r\ndata: 1\r\ndata:2\r\n\r\n: hello\r\nretry: 15\rdata\r\rdata: a: b\n\nevent: none\n\ndata: cut"
READ_IN_TWO = """async (text) => {
  const { parser } = await import("./build/events.js");
  return [...text].map((_, cut) => {
    const parse = parser();
    const heard = [parse(text.slice(0, cut)), parse(text.slice(cut))];
    return [heard.flatMap(({ events }) => events), heard.map(({ retry }) => retry).filter(Boolean)];
  });
}"""


async def test_events_are_read_wherever_the_stream_is_cut(origin: str) -> None:
    async with browsing() as (page, _):
        await page.goto(origin)
        found = await page.evaluate(READ_IN_TWO, EVENTS)
    read = [("state", "1\n2"), ("message", ""), ("message", "a: b")]
    assert len(found) == len(EVENTS)
    for events, retries in found:
        assert [(event["name"], event["data"]) for event in events] == read
        assert retries == [15]


async def test_what_is_no_number_is_said_at_the_field_and_not_sent(origin: str) -> None:
    async with browsing() as (page, _):
        await page.goto(origin)
        await show(page, "http://127.0.0.1:9", "82216 0123")

        field = page.get_by_label("Message numbers")
        await expect(page.locator("#ids-error")).to_contain_text("“0123” is no message number")
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_be_focused()
        await expect(page.locator("#messages")).to_be_hidden()


COUNT_ANNOUNCEMENTS = """() => {
  window.said = [];
  new MutationObserver(() => window.said.push(document.getElementById("changes").textContent))
    .observe(document.getElementById("changes"), { childList: true });
}"""


async def figures(page: Page) -> dict[str, int]:
    names = await page.locator("#figures dt").all_inner_texts()
    numbers = await page.locator("#figures dd").all_inner_texts()
    return {name.split(" ", 1)[1]: int(number) for name, number in zip(names, numbers, strict=True)}


async def test_figures_and_one_bar_follow_each_change(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        await show(page, service.url, "82210 82211 82216 82213 82215 82218")
        await expect(page.locator("#figures .pending dd")).to_have_text("2")
        assert await figures(page) == {"delivered": 1, "pending": 2, "failed": 1, "unknown": 1, "without a state": 1}
        shares = "bar => [...bar.children].map((each) => each.style.flexGrow)"
        assert await page.locator("#bar").evaluate(shares) == ["1", "2", "1", "1", "1"]

        await report(service, 82210, "read")
        await expect(page.locator("#figures .delivered dd")).to_have_text("2")
        await expect(page.locator("#figures .pending dd")).to_have_text("1")
        assert await page.locator("#bar").evaluate(shares) == ["2", "1", "1", "1", "1"]


async def test_many_changes_are_said_in_few_sentences(origin: str, tmp_path: Path) -> None:
    async with running(hooked(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        await page.evaluate(COUNT_ANNOUNCEMENTS)
        numbers = [1000 + 10 * n for n in range(500)]
        await show(page, service.url, " ".join(map(str, numbers)))
        await expect(page.locator("#figures .pending dd")).to_have_text("500")
        for number in numbers[:100]:
            await report(service, number, "deliver")
        await expect(page.locator("#figures .delivered dd")).to_have_text("100")
        # The last change may have come alone: then its message is named, and no figures.
        await expect(page.get_by_role("status")).to_contain_text(
            re.compile("100 delivered, 400 pending|1990: delivered")
        )
        said: list[str] = await page.evaluate("() => window.said")
        seconds: float = await page.evaluate("() => performance.now() / 1000")
        assert "Asking for 500 messages." in said[0]
        assert len(said) <= seconds / 2 + 1
        assert max(map(len, said)) < 200


@needs_axe
async def test_the_page_is_usable_by_everybody(origin: str, tmp_path: Path) -> None:
    async with running(sandbox(origin), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        async for look in each_look(page):
            assert await violations(page) == [], look
        await show(page, service.url, "82216 82217 82212 82213 82215 82218")
        await expect(page.locator("#figures .failed dd")).to_have_text("1")
        async for look in each_look(page):
            assert await violations(page) == [], look
            assert await sideways(page) == [], look


async def test_by_keyboard_alone_messages_are_asked_for_and_the_figures_said(origin: str, tmp_path: Path) -> None:
    async with running(sandbox(origin), tmp_path) as service, browsing(360) as (page, _):
        await page.goto(origin)
        await page.keyboard.press("Tab")
        await page.keyboard.press("Control+A")
        await page.keyboard.type("82212 82213")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Control+A")
        await page.keyboard.type(service.url)
        await page.keyboard.press("Enter")
        await expect(page.locator("#connection")).to_have_text("✓ complete")
        await expect(page.get_by_role("status")).to_contain_text("Message 82213: failed.")
        for _ in range(3):
            await page.keyboard.press("Tab")
        assert await focused(page) == "Say the figures"
        await page.keyboard.press("Enter")
        said = "Of 2: 1 delivered, 0 pending, 1 failed, 0 unknown; 2 final."
        await expect(page.get_by_role("status")).to_have_text(said)
        await page.keyboard.press("Tab")
        assert await page.evaluate("() => document.activeElement.ariaLabel") == "Messages"
