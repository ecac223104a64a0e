"""How long the example page keeps a browser busy at a stretch while 500 messages change: ``make smooth``.

A task of more than 50 ms is a "long task" (W3C Long Tasks API): until it ends, the page answers to no key and no click.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from playwright.async_api import Page, expect

from tests.support.browser import browsing
from tests.support.example import build, served
from tests.support.running import running

MESSAGES = 500
TOKEN = "a-token-for-the-browser"
expect.set_options(timeout=30_000)


@asynccontextmanager
async def taken(page: Page, what: str) -> AsyncIterator[None]:
    """Trace what happens meanwhile, and print the longest task of the page's main thread.

    In processor time, since a busy machine makes any task long; and in time that passed.
    """
    browser = page.context.browser
    assert browser is not None
    await browser.start_tracing(page=page, categories=["toplevel", "disabled-by-default-devtools.timeline"])
    yield
    events = json.loads(await browser.stop_tracing())["traceEvents"]
    main = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    tasks = [each for each in events if each["name"].endswith("RunTask") and (each["pid"], each["tid"]) in main]
    busy, passed = (max(each.get(key, 0) for each in tasks) / 1000 for key in ("tdur", "dur"))
    print(f"{what}: longest task {busy:.0f} ms of processor time, {passed:.0f} ms long")


async def main() -> None:
    """Show 500 messages, then let each of them change twice: one report after the other, then all in one."""
    numbers = [10_000 + 10 * n for n in range(MESSAGES)]
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as page_folder:
        build(Path(page_folder))
        with served(Path(page_folder)) as origin:
            variables = {
                "UPSTREAM_URL": "sandbox:", "CORS_ORIGINS": origin, "WEBHOOK_TOKEN": TOKEN, "PENDING_TTL": "3600",
                "DELIVERED_TTL": "3600",
            }  # fmt: skip
            async with running(variables, Path(folder)) as service, browsing(1160, 880) as (page, _):
                await page.goto(origin)
                await page.get_by_label("Service").fill(service.url)
                await page.get_by_label("Message numbers").fill(" ".join(map(str, numbers)))
                async with taken(page, f"{MESSAGES} messages appear"):
                    await page.get_by_role("button", name="Show").click()
                    await expect(page.locator("#figures .pending dd")).to_have_text(str(MESSAGES))
                async with httpx.AsyncClient(base_url=service.url, trust_env=False) as client:
                    for size, state in ((1, "deliver"), (MESSAGES, "read")):
                        async with taken(page, f"each becomes {state}, {size} in a report"):
                            for start in range(0, MESSAGES, size):
                                reports = [
                                    {"id_sms": str(id_), "time": "2021-04-26 16:00:00", "state": state}
                                    for id_ in numbers[start : start + size]
                                ]
                                await client.post(f"/webhooks/message-states/{TOKEN}", json=reports)
                            await expect(page.locator("#rows code", has_text=state)).to_have_count(MESSAGES)


if __name__ == "__main__":
    asyncio.run(main())
