"""``GET /problems/<slug>``: what every problem document's type leads to."""

import re
from urllib.parse import urljoin

import httpx
import pytest

from app.api.catalogue import CATALOGUE
from tests.support.service import assert_problem

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("slug", CATALOGUE)
async def test_every_problem_is_explained_in_json_and_html(client: httpx.AsyncClient, slug: str) -> None:
    row = CATALOGUE[slug]
    explained = await client.get(row.type)
    assert explained.headers["content-type"] == "application/json"
    assert explained.json() == {
        "type": row.type,
        "title": row.title,
        "status": row.status,
        "cause": row.cause,
        "caller": row.caller,
        "operator": row.operator,
        "retry_after": row.retry_after,
    }
    page = await client.get(row.type, headers={"Accept": "text/html,application/xhtml+xml;q=0.9"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert slug in page.text
    assert "`" not in page.text
    assert explained.headers["vary"] == "Accept"
    assert page.headers["vary"].split(", ")[0] == "Accept"


async def test_the_index_lists_every_problem_in_json_and_html(client: httpx.AsyncClient) -> None:
    listed = await client.get("/problems/")
    assert listed.headers["content-type"] == "application/json"
    assert [each["type"] for each in listed.json()["problems"]] == [row.type for row in CATALOGUE.values()]
    for each in listed.json()["problems"]:
        assert (await client.get(each["type"])).json() == each
    page = await client.get("/problems/", headers={"Accept": "text/html"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"]
    assert listed.headers["vary"] == page.headers["vary"] == "Accept, Accept-Encoding"
    links = re.findall(r'<td><a href="([^"]+)">', page.text)
    assert links == list(CATALOGUE)
    for link in links:
        assert (await client.get(urljoin("/problems/", link))).status_code == 200
    assert_problem(await client.get("/problems"), 404, "route-not-found")


@pytest.mark.parametrize("slug", ["nothing", "Overloaded", "%3Cscript%3E", "%00"])
async def test_an_unknown_problem_is_a_problem_itself(client: httpx.AsyncClient, slug: str) -> None:
    document = assert_problem(await client.get(f"/problems/{slug}"), 404, "route-not-found")
    assert "<" not in document["instance"]


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", True),  # a browser
        ("text/html", True),
        ("TEXT/HTML;Q=0.5", True),
        ("application/json, text/html", True),
        ("application/json;q=0.9, text/html;q=0.9", True),
        ("application/json, text/html;q=0.5", False),
        ("application/json, text/plain, */*", False),  # axios
        ("text/html;q=0, */*", False),
        ("text/html;q=0", False),
        ("text/html;q=nonsense", False),
        ("text/html;level=1;q=0.4, application/*;q=0.5", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_html_is_for_whoever_prefers_it(client: httpx.AsyncClient, accept: str, html: bool) -> None:
    for path in ("/problems/overloaded", "/problems/"):
        page = await client.get(path, headers={"Accept": accept})
        assert page.headers["content-type"].startswith("text/html" if html else "application/json")


async def test_the_accept_header_may_come_in_several_lines(client: httpx.AsyncClient) -> None:
    lines = [("Accept", "application/json;q=0.1"), ("Accept", "text/html")]
    page = await client.get("/problems/overloaded", headers=lines)
    assert page.headers["content-type"].startswith("text/html")
