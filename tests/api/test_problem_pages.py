"""``GET /problems/<slug>``: what every problem document's type leads to."""

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
    assert explained.headers["vary"] == page.headers["vary"] == "Accept"


@pytest.mark.parametrize("slug", ["nothing", "Overloaded", "%3Cscript%3E", "%00"])
async def test_an_unknown_problem_is_a_problem_itself(client: httpx.AsyncClient, slug: str) -> None:
    document = assert_problem(await client.get(f"/problems/{slug}"), 404, "route-not-found")
    assert "<" not in document["instance"]
