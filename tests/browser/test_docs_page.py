"""``/docs`` of a real process in a real browser, with nothing but loopback reachable."""

import json
from pathlib import Path

import pytest

from tests.support.browser import browsing, needs_chromium
from tests.support.running import running
from tests.support.swagger import authorize, operation, visit

pytestmark = [pytest.mark.anyio, needs_chromium]

SANDBOX = {"UPSTREAM_URL": "sandbox:"}
KEY = "a-key-for-the-browser"


async def test_the_page_explains_itself(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await visit(page, service.url)

        introduction = page.locator(".info")
        text = await introduction.inner_text()
        for word in ("partly_deliver", "not_deliver", "Execute", "Authorize"):
            assert word in text
        for fold in await introduction.locator("summary").all():
            await fold.click()
        assert await introduction.get_by_role("cell", name="ends in 8").is_visible()

        async with page.expect_popup() as opened:
            await introduction.get_by_role("link", name="rate-limited").click()
        explanation = await opened.value
        assert await explanation.locator("h1").inner_text() == "Too many requests"


async def test_both_lookups_can_be_executed_as_they_are_filled_in(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, watch):
        await visit(page, service.url)

        one = operation(page, "getMessageState")
        await one.open()
        assert await one.block.locator('tr[data-param-name="id"] input').input_value() == "82216"
        await one.block.locator('tr[data-param-name="detail"] select').select_option("true")
        status, body = await one.execute()
        assert status == "200"
        assert json.loads(body)["price_per_part"] == "10.6000000"

        many = operation(page, "getMessageStates")
        await many.open()
        status, body = await many.execute()
        assert status == "200"
        assert [state["id"] for state in json.loads(body)["states"]] == [82216, 82217]
        assert [problem["id"] for problem in json.loads(body)["problems"]] == [82218]

        watch.forgive("/messages/0082216/state")
        await one.block.locator('tr[data-param-name="id"] input').fill("0082216")
        status, body = await one.execute()
        assert status == "422"
        assert json.loads(body)["type"] == "/problems/invalid-request"


async def test_a_closed_service_answers_after_logging_in(tmp_path: Path) -> None:
    closed = SANDBOX | {"API_KEYS": f"browser:{KEY}"}
    async with running(closed, tmp_path) as service, browsing() as (page, watch):
        await visit(page, service.url)
        one = operation(page, "getMessageState")
        await one.open()

        watch.forgive("/messages/82216/state")
        status, body = await one.execute()
        assert (status, json.loads(body)["type"]) == ("401", "/problems/unauthenticated")

        await authorize(page, KEY)
        status, body = await one.execute()
        assert (status, json.loads(body)["state"]) == ("200", "deliver")
        assert KEY not in service.text


async def test_a_problem_page_is_a_page_of_the_same_product(tmp_path: Path) -> None:
    async with running(SANDBOX, tmp_path) as service, browsing() as (page, _):
        await page.goto(f"{service.url}/problems/message-not-found")
        assert await page.locator("h1").inner_text() == "Message not found"
        font = "element => getComputedStyle(element).fontFamily"
        there = await page.locator(".brand").evaluate(font)

        await page.get_by_role("link", name="All operations").click()
        await page.locator(".opblock").first.wait_for()
        assert await page.locator(".brand").evaluate(font) == there
