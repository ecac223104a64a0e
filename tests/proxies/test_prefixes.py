"""Under a prefix of a real nginx, in a real browser: pages, their files, links, redirects, and *Execute*."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.support.browser import browsing, needs_chromium
from tests.support.door import at_the_door
from tests.support.proxies import PROXIES, proxied, skip_without
from tests.support.scale import only_in_ci
from tests.support.swagger import operation, visit

pytestmark = pytest.mark.anyio

NGINX = PROXIES[0]
AT_THE_ROOT = "location / {{\n      proxy_pass http://service;"


@dataclass(frozen=True)
class Case:
    """How nginx publishes the service, and what the service was told."""

    name: str
    location: str
    prefix: str
    root_path: str | None


CASES = [
    Case("at the root", AT_THE_ROOT, "", None),
    Case("removed", "location /sms/ {{\n      proxy_pass http://service/;", "/sms", "/sms"),
    Case("left", "location /sms/ {{\n      proxy_pass http://service;", "/sms", "/sms"),
    Case("left, of two segments", "location /a/sms/ {{\n      proxy_pass http://service;", "/a/sms", "/a/sms"),
    Case("removed and not told", "location /sms/ {{\n      proxy_pass http://service/;", "/sms", None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_answers_and_redirects_carry_the_prefix(case: Case, tmp_path: Path) -> None:
    skip_without(NGINX)
    assert AT_THE_ROOT in NGINX.configuration
    proxy = replace(NGINX, configuration=NGINX.configuration.replace(AT_THE_ROOT, case.location))
    told = case.root_path or ""
    async with (
        at_the_door(root_path=case.root_path) as door,
        proxied(proxy, door.port, tmp_path) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        assert (await client.get(f"{case.prefix}/messages/82216/state")).status_code == 200
        wrong = (await client.get(f"{case.prefix}/messages/0/state")).json()
        assert (wrong["type"], wrong["instance"]) == (f"{told}/problems/invalid-request", f"{told}/messages/0/state")
        assert (await client.get(f"{case.prefix}/")).headers["location"] == f"{told}/docs"
        if told == case.prefix:
            assert (await client.get(wrong["type"])).status_code == 200


@needs_chromium
@only_in_ci
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_page_works_and_leads_to_the_others(case: Case, tmp_path: Path) -> None:
    skip_without(NGINX)
    proxy = replace(NGINX, configuration=NGINX.configuration.replace(AT_THE_ROOT, case.location))
    async with (
        at_the_door(root_path=case.root_path) as door,
        proxied(proxy, door.port, tmp_path) as port,
        browsing() as (page, _),
    ):
        base = f"http://127.0.0.1:{port}{case.prefix}"
        if case.root_path == case.prefix or not case.prefix:
            await page.goto(f"{base}/")
            assert page.url == f"{base}/docs"
            await page.locator(".opblock").first.wait_for()
        else:
            await visit(page, base)

        one = operation(page, "getMessageState")
        await one.open()
        status, body = await one.execute()
        assert (status, json.loads(body)["id"]) == ("200", 82216)

        introduction = page.locator(".info")
        for fold in await introduction.locator("summary").all():
            await fold.click()
        async with page.expect_popup() as opened:
            await introduction.get_by_role("link", name="rate-limited").click()
        explanation = await opened.value
        assert explanation.url == f"{base}/problems/rate-limited"
        brand = "element => getComputedStyle(element).fontFamily"
        styled = [await each.locator(".brand").evaluate(brand) for each in (page, explanation)]
        assert styled[0] == styled[1], "the style sheet was found"
        await explanation.get_by_role("link", name="All operations").click()
        assert explanation.url == f"{base}/docs"
