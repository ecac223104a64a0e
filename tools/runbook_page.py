"""``docs/runbook.md`` as the page that the service serves, linked from each problem's page."""

import re
from html import escape
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

RUNBOOK = Path(__file__).parent.parent / "docs" / "runbook.md"

_PAGE = """<!doctype html>
<!-- Made by `make docs` from docs/runbook.md. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Runbook · message-state-proxy</title>
<link rel="icon" type="image/svg+xml" href="favicon.svg">
<link rel="stylesheet" href="style.css">
</head>
<body>
<header class="masthead">
<a class="brand" href="../docs"><img src="favicon.svg" alt="" width="28" height="28">message-state-proxy</a>
<nav aria-label="Documents"><a href="../problems/">All problems</a> <a href="../docs">All operations</a></nav>
</header>
<main class="page runbook">
{content}</main>
</body>
</html>
"""


def anchor(heading: str) -> str:
    """Where a link to a heading leads, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def page(current: str = "") -> str:
    """The page. Links to other documents, which the service does not serve, become their names."""
    del current
    markdown = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = markdown.parse(RUNBOOK.read_text(encoding="utf-8"))
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            before.attrSet("id", anchor(token.content))
        if token.children:
            token.children = _without_other_documents(token.children)
    return _PAGE.format(content=markdown.renderer.render(tokens, markdown.options, {}))


def _without_other_documents(tokens: list[Token]) -> list[Token]:
    kept: list[Token] = []
    name = ""
    for token in tokens:
        target = str(token.attrGet("href") or "")
        if token.type == "link_open" and not target.startswith("#"):
            name = target.partition("#")[0]
        elif token.type == "link_close" and name:
            kept.append(Token("html_inline", "", 0, content=f" (<code>docs/{escape(name)}</code>)"))
            name = ""
        else:
            kept.append(token)
    return kept
