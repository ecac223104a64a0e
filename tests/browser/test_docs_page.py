"""``/docs`` of a real process in a real browser, with nothing but loopback reachable."""

import json
from pathlib import Path

import pytest

from tests.support.browser import browsing, needs_chromium
from tests.support.running import running
from tests.support.scale import only_in_ci
from tests.support.swagger import authorize, operation, visit

pytestmark = [pytest.mark.anyio, needs_chromium, only_in_ci]

SANDBOX = {"UPSTREAM_URL": "sandbox:"}
KEY = "a-key-for-the-browser"


async def test_the_page_explains_itself_and_leads_to_the_problem_pages(tmp_path: Path) -> None:
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

        font = "element => getComputedStyle(element).fontFamily"
        brands = [await each.locator(".brand").evaluate(font) for each in (page, explanation)]
        assert brands[0] == brands[1], "both are pages of one product"
        back = explanation.get_by_role("link", name="All operations")
        assert await back.evaluate("link => link.href") == page.url


async def test_after_logging_in_both_lookups_can_be_executed_as_they_are_filled_in(tmp_path: Path) -> None:
    closed = SANDBOX | {"API_KEYS": f"browser:{KEY}"}
    async with running(closed, tmp_path) as service, browsing() as (page, watch):
        await visit(page, service.url)
        one = operation(page, "getMessageState")
        await one.open()
        assert await one.block.locator('tr[data-param-name="id"] input').input_value() == "82216"
        await one.block.locator('tr[data-param-name="detail"] select').select_option("true")

        watch.forgive("/messages/82216/state")
        status, body = await one.execute()
        assert (status, json.loads(body)["type"]) == ("401", "/problems/unauthenticated")

        await authorize(page, KEY)
        status, body = await one.execute()
        assert status == "200"
        assert json.loads(body)["price_per_part"] == "10.6000000"

        many = operation(page, "lookUpMessages")
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
        assert KEY not in service.text
