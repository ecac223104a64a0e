"""The committed files that are made from the code, and the README's examples, say what the code says."""

import asyncio
import json
import re
import shlex

import httpx
import pytest

from app.main import create_app
from app.settings import Settings
from tools import docs, openapi


@pytest.mark.parametrize("path", docs.GENERATED)
def test_a_generated_document_is_what_the_code_makes(path: str) -> None:
    committed = (docs.ROOT / path).read_text(encoding="utf-8")
    assert committed == docs.GENERATED[path](committed), "run `make docs` and commit the result"


def test_the_published_openapi_document_is_what_the_code_makes() -> None:
    assert openapi.PATH.read_text(encoding="utf-8") == openapi.document(), "run `make openapi` and commit the result"


def test_the_openapi_document_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = openapi.document()
    monkeypatch.setenv("UPSTREAM_URL", "not a url")
    monkeypatch.setenv("UPSTREAM_LOGIN", "a login without a password")
    monkeypatch.setenv("PORT", "none")
    assert openapi.document() == before


def test_every_setting_stands_in_each_list_of_settings() -> None:
    for path in ("docs/configuration.md", ".env.example"):
        text = (docs.ROOT / path).read_text(encoding="utf-8")
        assert [name for name in Settings.model_fields if name.upper() not in text] == [], path


def test_replacing_a_block_leaves_the_rest_alone() -> None:
    text = "a\n<!-- x: made by `make docs` -->\nold\n<!-- /x -->\nz\n"
    assert docs.replace_block(text, "x", "new\n") == "a\n<!-- x: made by `make docs` -->\n\nnew\n\n<!-- /x -->\nz\n"


def test_a_missing_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="marks of the block x"):
        docs.replace_block("<!-- x: made by `make docs` -->\n", "x", "new\n")


def test_the_readmes_commands_print_what_the_readme_shows() -> None:
    text = (docs.ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"```console\n\$ (curl .*)\n([^`]*)```", text)
    assert len(examples) == 2
    for command, shown in examples:
        url = next(word for word in shlex.split(command) if word.startswith("http://"))
        body = re.search(r" -d '(.*)'", command)
        assert json.loads(shown) == asyncio.run(_ask(url, body[1] if body else None)), command


async def _ask(url: str, body: str | None) -> object:
    app = create_app(Settings.for_sandbox())
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        method = "POST" if body else "GET"
        reply = await client.request(method, url, content=body, headers={"Content-Type": "application/json"})
    return reply.json()
