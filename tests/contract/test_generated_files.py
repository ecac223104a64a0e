"""The committed files that are made from the code say what the code says."""

import pytest

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
    for path in ("docs/configuration.md", ".env.example", "README.md"):
        text = (docs.ROOT / path).read_text(encoding="utf-8")
        assert [name for name in Settings.model_fields if name.upper() not in text] == [], path


def test_replacing_a_block_leaves_the_rest_alone() -> None:
    text = "a\n<!-- x: made by `make docs` -->\nold\n<!-- /x -->\nz\n"
    assert docs.replace_block(text, "x", "new\n") == "a\n<!-- x: made by `make docs` -->\n\nnew\n\n<!-- /x -->\nz\n"


def test_a_missing_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="marks of the block x"):
        docs.replace_block("<!-- x: made by `make docs` -->\n", "x", "new\n")
