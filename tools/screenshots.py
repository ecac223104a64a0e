"""The pictures in ``docs/images/``: ``make screenshots``. Takes them from real processes; needs chromium and node.

Clock, time zone, language, data and size are fixed, and nothing moves: on one machine the same picture comes out each
time. Letters are drawn with the fonts of the machine, so that pictures of two machines differ in their outlines.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import httpx
from playwright.async_api import Page, expect

from tests.support.browser import browsing, chromium
from tests.support.example import build, served
from tests.support.running import running
from tests.support.swagger import visit

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NOW = "2021-04-26T13:00:05Z"
TOKEN = "a-token-for-the-pictures"
DESKTOP, PHONE = 1280, 390


async def _take(page: Page, path: Path) -> None:
    """The whole page, once its fonts are there and nothing changes any more."""
    await page.evaluate("() => document.fonts.ready")
    await page.screenshot(path=path, full_page=True, animations="disabled", caret="hide")


async def _docs(page: Page, url: str, path: Path) -> None:
    """All operations, folded."""
    await visit(page, url)
    await expect(page.locator(".opblock")).to_have_count(7)
    await expect(page.locator(".source")).to_contain_text("Sandbox: every answer is made up")
    await _take(page, path)


async def _problem(page: Page, url: str, path: Path) -> None:
    await page.goto(f"{url}/problems/upstream-throttled")
    await expect(page.get_by_role("heading", level=1)).to_have_text("The platform throttles")
    await _take(page, path)


async def _example(page: Page, origin: str, url: str, path: Path) -> None:
    """Messages of every kind, while one of them changes."""
    await page.clock.set_fixed_time(NOW)
    await page.goto(origin)
    address = page.get_by_label("Service")
    usual = await address.input_value()
    await address.fill(url)
    await page.get_by_label("Message numbers").fill("82216 82210 82220 82212 82213 82215 82218")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#figures .pending dd")).to_have_text("2")
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        report = {"id_sms": "82220", "time": "2021-04-26 16:00:05", "state": "deliver"}
        await client.post(f"/webhooks/message-states/{TOKEN}", json=[report])
    await expect(page.locator("#figures .pending dd")).to_have_text("1")
    await expect(page.locator("#rows tr").nth(2)).to_contain_text("delivered")
    await expect(page.locator("#connection")).to_have_text("● live")
    # The process had a port of its own; and nothing has the focus.
    await address.fill(usual)
    await page.evaluate("() => document.activeElement.blur()")
    await _take(page, path)


async def take(folder: Path, page_folder: Path) -> None:
    """Take them all into a folder. ``page_folder`` has the example page, compiled."""
    with tempfile.TemporaryDirectory() as work, served(page_folder) as origin:
        variables = {
            "UPSTREAM_URL": "sandbox:", "CORS_ORIGINS": origin, "WEBHOOK_TOKEN": TOKEN, "PENDING_TTL": "3600",
            "DELIVERED_TTL": "3600",
        }  # fmt: skip
        async with running(variables, Path(work)) as service, chromium() as browser:
            for width, name in ((DESKTOP, "docs.png"), (PHONE, "docs-phone.png")):
                async with browsing(width, 640, browser=browser) as (page, _):
                    await _docs(page, service.url, folder / name)
            async with browsing(DESKTOP, 640, "dark", browser) as (page, _):
                await _problem(page, service.url, folder / "problem.png")
            async with browsing(1160, 640, browser=browser) as (page, _):
                await _example(page, origin, service.url, folder / "example.png")


def main() -> None:
    """Compile the example page and take the pictures into the folder that is named, else where they belong."""
    with tempfile.TemporaryDirectory() as page_folder:
        build(Path(page_folder))
        asyncio.run(take(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES, Path(page_folder)))


if __name__ == "__main__":
    main()
