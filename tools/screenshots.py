"""The pictures in ``docs/images/``: ``make screenshots``. Takes them from real processes; needs chromium and node."""

import asyncio
import json
import tempfile
from pathlib import Path

from playwright.async_api import Page, expect

from tests.support.browser import browsing
from tests.support.example import build, served
from tests.support.running import running
from tests.support.swagger import operation, visit

IMAGES = Path(__file__).parent.parent / "docs" / "images"


async def docs(page: Page, url: str) -> None:
    """The introduction, and one message asked for."""
    await visit(page, url)
    await page.screenshot(path=IMAGES / "docs.png")
    one = operation(page, "getMessageState")
    await one.open()
    await one.block.locator('tr[data-param-name="detail"] select').select_option("true")
    status, body = await one.execute()
    assert (status, json.loads(body)["price_per_part"]) == ("200", "10.6000000")
    await one.block.locator(".execute").evaluate("element => element.scrollIntoView()")
    await page.screenshot(path=IMAGES / "docs-answer.png")


async def example(page: Page, origin: str, url: str) -> None:
    """The example page with one message of each kind."""
    await page.goto(origin)
    await page.get_by_label("Service").fill(url)
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#summary")).to_contain_text("5 of 6 known")
    await page.screenshot(path=IMAGES / "example.png")


async def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as page_folder:
        build(Path(page_folder))
        with served(Path(page_folder)) as origin:
            variables = {"UPSTREAM_URL": "sandbox:", "CORS_ORIGINS": origin, "METRICS_PORT": "0"}
            async with running(variables, Path(folder)) as service:
                async with browsing(1280, 1060) as (page, _):
                    await docs(page, service.url)
                async with browsing(1280, 640) as (page, _):
                    await page.goto(f"{service.url}/problems/message-not-found")
                    await page.screenshot(path=IMAGES / "problem.png")
                async with browsing(1160, 880) as (page, _):
                    await example(page, origin, service.url)


if __name__ == "__main__":
    asyncio.run(main())
