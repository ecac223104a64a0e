"""A headless Chromium that reaches nothing but loopback, and that notes whatever a page should not do."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from itertools import product
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium; Debian has it in a package")
ARGUMENTS = [
    "--no-sandbox",  # containers run as root; the pages are our own
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
HEIGHT = 900
LOOKS = list(product((1280, 360), SCHEMES))
"""How pages are looked at: widths in pixels, with both schemes."""
PATIENCE_MS = 30_000
"""Shared machines can be slow; nothing waits this long when all is well."""


class Watch:
    """What the pages of a browser asked for and complained about."""

    def __init__(self, context: BrowserContext) -> None:
        self.hosts: set[str] = set()
        self.complaints: list[str] = []
        self._forgiven: list[str] = []
        context.on("request", lambda request: self._asked(request.url))
        context.on("console", self._said)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))

    def forgive(self, path: str) -> None:
        """Chromium writes every status from 400 on to the console; this path is meant to answer with one."""
        self._forgiven.append(path)

    def _asked(self, url: str) -> None:
        # data: images have no host.
        if urlsplit(url).scheme != "data":
            self.hosts.add(urlsplit(url).hostname or url)

    def _said(self, message: ConsoleMessage) -> None:
        path = urlsplit(message.location["url"]).path
        expected = message.text.startswith("Failed to load resource") and path in self._forgiven
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"{message.type}: {message.text} ({message.location['url']})")


OUTSIDE = """() => {
  const { clientWidth, scrollWidth } = document.documentElement;
  if (scrollWidth <= clientWidth) return [];
  return [...document.querySelectorAll("body *")]
    .filter((each) => each.getBoundingClientRect().right > clientWidth)
    .map((each) => `${each.tagName}.${each.className}`);
}"""
FOCUSED = "() => document.activeElement.textContent.trim()"


async def sideways(page: Page) -> list[str]:
    """The elements because of which a page scrolls sideways."""
    found: list[str] = await page.evaluate(OUTSIDE)
    return found


async def focused(page: Page) -> str:
    """The text of what has the keyboard's focus."""
    text: str = await page.evaluate(FOCUSED)
    return text


async def each_look(page: Page) -> AsyncIterator[tuple[int, Scheme]]:
    """Look at a page in every way, one after the other, without loading it anew."""
    for width, scheme in LOOKS:
        await page.set_viewport_size({"width": width, "height": HEIGHT})
        await page.emulate_media(color_scheme=scheme)
        yield width, scheme


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser, which several pages may share one after the other."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@asynccontextmanager
async def browsing(
    width: int = 1280, height: int = HEIGHT, scheme: Scheme = "light", browser: Browser | None = None
) -> AsyncIterator[tuple[Page, Watch]]:
    """A page; at the end it must have asked no other host and complained about nothing."""
    async with chromium() if browser is None else nullcontext(browser) as started:
        context = await started.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            timezone_id="UTC",
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        watch = Watch(context)
        yield await context.new_page(), watch
        await context.close()
    assert watch.hosts == {"127.0.0.1"}
    assert watch.complaints == []
