"""axe-core, which looks for what people with a screen reader, a keyboard or weak eyes cannot use."""

from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.example import FOLDER

SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(
    not SCRIPT.exists(), reason="axe-core is not installed; `npm ci --prefix openapi` does it"
)


async def violations(page: Page) -> list[tuple[str, str]]:
    """What axe finds on a page with all its rules: pairs of a rule and the place, as a selector."""
    # Colours that are still changing are none of the page's. A change that is called off has ended, too.
    await page.evaluate("() => Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    # Evaluated, not added as a script: the page's policy would refuse that, as it should.
    await page.evaluate(SCRIPT.read_text(encoding="utf-8"))
    found: Any = await page.evaluate("() => axe.run(document)")
    return [(rule["id"], " ".join(map(str, node["target"]))) for rule in found["violations"] for node in rule["nodes"]]
