"""The example page in a real browser: another origin than the service, so everything goes through CORS."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import PATIENCE_MS, browsing, needs_chromium
from tests.support.example import build, needs_npm, served
from tests.support.running import running

pytestmark = [pytest.mark.anyio, needs_chromium, needs_npm]

KEY = "a-key-for-the-browser"
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


async def test_the_table_refreshes_until_nothing_can_change(origin: str, tmp_path: Path) -> None:
    async with running(sandbox(origin, PENDING_TTL="0"), tmp_path) as service, browsing() as (page, _):
        await page.goto(origin)
        await show(page, service.url, "82217")
        await expect(page.locator("#rows tr")).to_contain_text("… pending")
        await expect(page.get_by_role("status")).to_have_text("Message 82217: pending.")

        await expect(page.locator("#rows tr")).to_contain_text("✓ delivered")
        await expect(page.get_by_role("status")).to_have_text("Message 82217: delivered.")

        await page.get_by_role("button", name="Pause").click()
        await expect(page.locator("#summary")).to_contain_text("Paused.")

        await show(page, service.url, "82212")
        await expect(page.locator("#summary")).to_contain_text("Nothing more to ask for")
        await expect(page.locator("#pause")).to_be_hidden()


async def test_a_missing_key_and_a_dead_service_are_said_and_do_not_wipe_the_table(origin: str, tmp_path: Path) -> None:
    closed = sandbox(origin, API_KEYS=f"page:{KEY}")
    async with running(closed, tmp_path) as service, browsing() as (page, watch):
        await page.goto(origin)
        watch.forgive("/messages/states")
        await show(page, service.url, "82216 82217")
        failure = page.get_by_role("alert").filter(has_text="Not authenticated")
        await expect(failure).to_be_visible()
        await expect(failure.get_by_role("link")).to_have_attribute("href", f"{service.url}/problems/unauthenticated")

        await show(page, service.url, "82216 82217", KEY)
        await expect(page.locator("#rows tr").first).to_contain_text("✓ delivered")
        await expect(failure).to_be_hidden()

        service.process.kill()
        await expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
        await expect(page.locator("#rows tr").first).to_contain_text("✓ delivered")
        await page.get_by_role("button", name="Pause").click()


async def test_a_page_of_an_origin_that_is_not_allowed_says_so(origin: str, tmp_path: Path) -> None:
    async with running(sandbox("https://elsewhere.example"), tmp_path) as service, browsing() as (page, watch):
        await page.goto(origin)
        await show(page, service.url, "82216")
        await expect(page.get_by_role("alert").filter(has_text=f"CORS_ORIGINS name {origin}")).to_be_visible()
        await page.get_by_role("button", name="Pause").click()
        assert any("blocked by CORS policy" in complaint for complaint in watch.complaints)
        watch.complaints.clear()


async def test_what_is_no_number_is_said_at_the_field_and_not_sent(origin: str) -> None:
    async with browsing() as (page, _):
        await page.goto(origin)
        await show(page, "http://127.0.0.1:9", "82216 0123")

        field = page.get_by_label("Message numbers")
        await expect(page.locator("#ids-error")).to_contain_text("“0123” is no message number")
        await expect(field).to_have_attribute("aria-invalid", "true")
        await expect(field).to_be_focused()
        await expect(page.locator("#messages")).to_be_hidden()
