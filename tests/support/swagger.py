"""What a person does on ``/docs``."""

from dataclasses import dataclass

from playwright.async_api import Locator, Page


@dataclass
class Operation:
    """One operation of the page."""

    block: Locator

    async def open(self) -> None:
        """Unfold it."""
        await self.block.locator(".opblock-summary-control").click()
        await self.block.locator(".execute").wait_for()

    async def execute(self) -> tuple[str, str]:
        """Press *Execute*; the status and the body that are shown."""
        await self.start()
        return await self.answer()

    async def start(self) -> None:
        """Press *Execute*, and do not wait."""
        clear = self.block.locator(".btn-clear")
        if await clear.count():
            await clear.click()
        await self.block.locator(".execute").click()

    async def answer(self) -> tuple[str, str]:
        """The status and the body that are shown."""
        answer = self.block.locator(".live-responses-table .response")
        status = await answer.locator(".response-col_status").first.inner_text()
        shown = await answer.locator(".highlight-code, .microlight").first.inner_text()
        # Before the content stands the label of a button.
        return status.split()[0], shown.removeprefix("Download").strip()


async def unfold_all(page: Page) -> None:
    """Open every operation and every fold."""
    await page.evaluate(
        """() => {
          for (const each of document.querySelectorAll(".opblock:not(.is-open) .opblock-summary-control")) each.click();
          for (const each of document.querySelectorAll("details")) each.open = true;
        }"""
    )
    await page.locator(".execute").nth(await page.locator(".opblock").count() - 1).wait_for()


async def visit(page: Page, url: str) -> None:
    """Open ``/docs`` and wait until the operations are there."""
    await page.goto(f"{url}/docs")
    await page.locator(".opblock").first.wait_for()


def operation(page: Page, name: str) -> Operation:
    """An operation by its id."""
    return Operation(page.locator(f"#operations-Messages-{name}"))


async def authorize(page: Page, key: str) -> None:
    """Enter an API key."""
    await page.locator(".auth-wrapper > .btn.authorize").click()
    dialog = page.locator(".modal-ux")
    first = dialog.locator(".auth-container").first
    await first.locator("input").fill(key)
    await first.locator("button.authorize").click()
    await dialog.locator(".btn-done").first.click()
