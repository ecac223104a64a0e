"""The pages that the service serves: on desktop and phone, light and dark, printed, by keyboard alone."""

from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.axe import needs_axe, violations
from tests.support.browser import browsing, each_look, focused, needs_chromium, sideways
from tests.support.running import running
from tests.support.scale import only_in_ci
from tests.support.swagger import operation, unfold_all, visit

pytestmark = [pytest.mark.anyio, needs_chromium, only_in_ci]

SANDBOX = {"UPSTREAM_URL": "sandbox:"}
OWN_PAGES = ("/problems/", "/problems/overloaded", "/problems/message-not-found", "/docs/runbook")
PREFIXES = ["", "/sms"]

# What Swagger UI's makers left open; in its operations alone, never in what is ours.
THEIRS = {
    "heading-order",
    "label",
    "landmark-unique",
    "nested-interactive",
    "scrollable-region-focusable",
    "select-name",
}
NOTE_WHAT_IS_READ = """() => {
  const decode = TextDecoder.prototype.decode;
  TextDecoder.prototype.decode = function (...bytes) {
    window.wasRead = true;
    return decode.apply(this, bytes);
  };
}"""
NOT_IN_AN_OPERATION = "(targets) => targets.filter((each) => !document.querySelector(each)?.closest('#operations'))"


async def brightness(page: Page) -> int:
    """Of the page's ground, 0 to 255."""
    colour: str = await page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) // 3


async def tab_to(page: Page, selector: str) -> None:
    """Press the tabulator until this element has the focus."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached by keyboard")


@needs_axe
@pytest.mark.parametrize("path", OWN_PAGES)
async def test_our_own_pages_are_usable_by_everybody(path: str, tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await page.goto(f"{service.url}{path}")
        async for width, scheme in each_look(page):
            assert await violations(page) == [], (width, scheme)
            assert await sideways(page) == [], (width, scheme)
            assert (await brightness(page) < 100) == (scheme == "dark"), (width, scheme)


@needs_axe
async def test_on_docs_axe_finds_nothing_of_ours(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await visit(page, service.url)
        await unfold_all(page)
        assert await page.get_by_role("main").count() == 1
        async for width, scheme in each_look(page):
            assert await sideways(page) == [], (width, scheme)
            assert (await brightness(page) < 100) == (scheme == "dark"), (width, scheme)
            found = await violations(page)
            assert [each for each in found if each[0] not in THEIRS] == [], (width, scheme)
            assert await page.evaluate(NOT_IN_AN_OPERATION, [place for _, place in found]) == [], (width, scheme)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_from_a_problem_to_the_runbook_and_to_all_problems_by_keyboard(prefix: str, tmp_path: Path) -> None:
    variables = {**SANDBOX, "ROOT_PATH": prefix}
    async with running(variables, tmp_path) as service, browsing(360) as (page, _):
        base = service.url + prefix
        await page.goto(f"{base}/problems/upstream-throttled")
        for expected in (
            "message-state-proxy",
            "All problems",
            "All operations",
            "In the runbook: how to check, and the commands",
        ):
            await page.keyboard.press("Tab")
            assert await focused(page) == expected
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{base}/docs/runbook#upstream-throttled")
        section = page.locator("#upstream-throttled")
        assert await section.inner_text() == "upstream-throttled"
        top: float = await section.evaluate("element => element.getBoundingClientRect().top")
        assert -1 < top < 300

        await page.get_by_role("link", name="All problems").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{base}/problems/")
        await page.get_by_role("link", name="overloaded").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{base}/problems/overloaded")


async def test_a_page_is_printed_dark_on_white_without_what_only_a_screen_needs(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing(scheme="dark") as (page, _):
        await page.goto(f"{service.url}/problems/overloaded")
        await page.emulate_media(media="print")
        assert await brightness(page) == 255
        assert not await page.get_by_role("navigation").is_visible()
        assert await page.get_by_text("What the operator does").is_visible()
        await page.goto(f"{service.url}/docs")
        await page.locator(".opblock").first.wait_for()
        assert await brightness(page) == 255


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_a_stream_that_is_tried_out_ends_by_itself(prefix: str, tmp_path: Path) -> None:
    async with running({**SANDBOX, "ROOT_PATH": prefix}, tmp_path) as service, browsing() as (page, _):
        await page.clock.install()
        await visit(page, service.url + prefix)
        stream = operation(page, "streamMessageStates")
        await stream.open()
        assert "ends by itself" in await stream.block.locator(".examples-select-element option").first.inner_text()
        status, shown = await stream.execute()
        assert status == "200"
        assert shown.count("event: state") == 2
        assert f'"type":"{prefix}/problems/message-not-found"' in shown
        assert "event: end" in shown


async def test_of_a_stream_that_goes_on_the_page_shows_ten_seconds(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await page.clock.install()
        await visit(page, service.url)
        stream = operation(page, "streamMessageStates")
        await stream.open()
        await stream.block.locator(".examples-select-element").first.select_option(
            label="82210: pending for ever (sandbox)"
        )
        await page.evaluate(NOTE_WHAT_IS_READ)
        await stream.start()
        await page.wait_for_function("() => window.wasRead")
        await page.clock.run_for(10_000)
        status, shown = await stream.answer()
        assert status == "200"
        assert shown.count("event: state") == 1
        assert "the stream itself goes on" in shown


async def test_one_message_is_asked_for_by_keyboard_alone(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await visit(page, service.url)
        one = operation(page, "getMessageState")
        await tab_to(page, "#operations-Messages-getMessageState .opblock-summary-control")
        await page.keyboard.press("Enter")
        await one.block.locator(".execute").wait_for()
        await tab_to(page, "#operations-Messages-getMessageState .execute")
        await page.keyboard.press("Enter")
        status, _ = await one.answer()
        assert status == "200"
