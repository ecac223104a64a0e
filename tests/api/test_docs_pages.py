"""Swagger UI and the problem pages: everything is local, unchanged, and allowed to load nothing else."""

import hashlib
import json
import re
from urllib.parse import urljoin

import httpx
import pytest

from app.api.catalogue import CATALOGUE
from app.api.docs import VENDORED, assets

pytestmark = pytest.mark.anyio

MANIFEST = json.loads((VENDORED / "manifest.json").read_text(encoding="utf-8"))
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def directives(policy: str) -> dict[str, list[str]]:
    parts = [part.split() for part in policy.split(";")]
    return {name: sources for name, *sources in parts}


async def test_swagger_ui_is_what_its_makers_published() -> None:
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in VENDORED.iterdir()}
    del files["manifest.json"]

    assert files == MANIFEST["sha256"]
    assert re.fullmatch(r"5\.\d+\.\d+", MANIFEST["version"])
    assert MANIFEST["license"] == "Apache-2.0"
    assert "Apache License" in (VENDORED / "LICENSE").read_text(encoding="utf-8")


async def test_everything_that_a_page_loads_is_served_by_this_service(sandboxed: httpx.AsyncClient) -> None:
    for page in ("/docs", "/docs/runbook", "/problems/", "/problems/overloaded"):
        reply = await sandboxed.get(page, headers=BROWSER)
        loaded = re.findall(r'(?:src|<link [^>]*href)="([^"]*)"', reply.text)
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert len(loaded) > 1
        for path in loaded:
            assert not path.startswith("/"), "a prefix that nobody told the service would be lost"
            assert (await sandboxed.get(urljoin(page, path))).status_code == 200, path


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [(".js", "text/javascript; charset=utf-8"), (".css", "text/css; charset=utf-8"), (".svg", "image/svg+xml")],
)
async def test_a_file_has_the_type_that_browsers_insist_on(
    suffix: str, media_type: str, sandboxed: httpx.AsyncClient
) -> None:
    names = [name for name in assets() if name.endswith(suffix)]
    assert names
    for name in names:
        assert (await sandboxed.get(f"/docs/{name}")).headers["content-type"] == media_type


async def test_a_file_that_the_browser_has_is_not_sent_again(sandboxed: httpx.AsyncClient) -> None:
    for name in assets():
        first = await sandboxed.get(f"/docs/{name}")
        second = await sandboxed.get(f"/docs/{name}", headers={"If-None-Match": first.headers["etag"]})
        assert (second.status_code, second.content) == (304, b"")
        assert second.headers["etag"] == first.headers["etag"]


async def test_only_a_path_that_names_its_version_is_kept_without_asking(sandboxed: httpx.AsyncClient) -> None:
    for name in assets():
        kept = (await sandboxed.get(f"/docs/{name}")).headers["cache-control"]
        assert ("immutable" in kept) == (MANIFEST["version"] in name)
        assert kept in ("no-cache", "public, max-age=31536000, immutable")


async def test_another_release_of_swagger_ui_is_not_found_rather_than_mixed_up(sandboxed: httpx.AsyncClient) -> None:
    assert (await sandboxed.get("/docs/swagger-ui-5.0.0/swagger-ui.css")).status_code == 404


@pytest.mark.parametrize("name", ["manifest.json", "docs.html", "../docs.py", "..%2fdocs.py", "", "style.css/"])
async def test_nothing_but_the_listed_files_is_served(name: str, sandboxed: httpx.AsyncClient) -> None:
    reply = await sandboxed.get(f"/docs/{name}")

    assert reply.status_code == 404
    assert reply.json()["type"] == "/problems/route-not-found"


async def test_the_pages_may_run_and_load_nothing_but_local_files(sandboxed: httpx.AsyncClient) -> None:
    docs = directives((await sandboxed.get("/docs")).headers["content-security-policy"])
    problem = directives(
        (await sandboxed.get("/problems/overloaded", headers=BROWSER)).headers["content-security-policy"]
    )

    assert docs["script-src"] == ["'self'"]
    assert "script-src" not in problem
    for policy in (docs, problem):
        assert policy["default-src"] == ["'none'"]
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == ["'none'"]
        assert {source for sources in policy.values() for source in sources} <= {"'self'", "'none'", "data:"}


async def test_no_page_needs_an_exception_from_its_policy(sandboxed: httpx.AsyncClient) -> None:
    for page in ("/docs", "/docs/runbook", "/problems/", "/problems/overloaded"):
        text = (await sandboxed.get(page, headers=BROWSER)).text
        assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", text)


@pytest.mark.parametrize("slug", CATALOGUE)
async def test_a_problem_page_tells_all_that_the_catalogue_tells(slug: str, sandboxed: httpx.AsyncClient) -> None:
    row = CATALOGUE[slug]
    page = await sandboxed.get(row.type, headers=BROWSER)
    document = (await sandboxed.get(row.type, headers={"Accept": "application/json"})).json()

    text = re.sub(r"<[^>]+>", "", page.text)
    for part in (row.cause, row.caller, row.operator):
        assert part.replace("`", "") in text
    assert ("Responses say in Retry-After" in text) == row.retry_after
    assert (document["cause"], document["retry_after"]) == (row.cause, row.retry_after)
    assert page.headers["vary"] in ("Accept", "Accept, Accept-Encoding")


async def test_docs_say_at_once_who_answers(sandboxed: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    for asked, text in ((sandboxed, "Sandbox: every answer is made up"), (client, "Live: the SMS platform answers.")):
        page = re.sub(r"<[^>]+>", "", (await asked.get("/docs")).text)
        assert text in page


async def test_the_runbook_is_served_and_no_link_in_it_leads_nowhere(sandboxed: httpx.AsyncClient) -> None:
    page = await sandboxed.get("/docs/runbook")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    ids = re.findall(r' id="([^"]+)"', page.text)
    assert len(ids) == len(set(ids))
    for link in re.findall(r' href="([^"]+)"', page.text):
        if link.startswith("#"):
            assert link[1:] in ids, link
        else:
            assert (await sandboxed.get(urljoin("/docs/runbook", link))).status_code == 200, link


@pytest.mark.parametrize("slug", CATALOGUE)
async def test_a_problem_page_leads_to_the_index_and_to_its_place_in_the_runbook(
    slug: str, sandboxed: httpx.AsyncClient
) -> None:
    links = re.findall(r' href="([^"]+)"', (await sandboxed.get(f"/problems/{slug}", headers=BROWSER)).text)
    assert urljoin(f"/problems/{slug}", links[links.index("./")]) == "/problems/"
    (place,) = [link for link in links if "runbook" in link]
    target, _, anchor = urljoin(f"/problems/{slug}", place).partition("#")
    assert f' id="{anchor}"' in (await sandboxed.get(target)).text
    assert anchor == slug
