"""axe-core, which looks for what people with a screen reader, a keyboard or weak eyes cannot use."""

import pytest
from playwright.async_api import Page

from tests.support.example import FOLDER

SCRIPT = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(
    not SCRIPT.exists(), reason="axe-core is not installed; `npm ci --prefix openapi` does it"
)

# What is in order is not even listed: on a long page that is megabytes, and passing them on takes most of the time.
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.flatMap((rule) => rule.nodes.map((node) => [rule.id, node.target.join(" ")]));
}"""


async def violations(page: Page) -> list[tuple[str, str]]:
    """What axe finds on a page with all its rules: pairs of a rule and the place, as a selector."""
    # Colours that are still changing are none of the page's. A change that is called off has ended, too.
    await page.evaluate("() => Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    # Evaluated, not added as a script: the page's policy would refuse that, as it should.
    await page.evaluate(SCRIPT.read_text(encoding="utf-8"))
    found: list[tuple[str, str]] = [tuple(each) for each in await page.evaluate(RUN)]
    return found
