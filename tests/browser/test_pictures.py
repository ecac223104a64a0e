"""The pictures in docs/images are what `make screenshots` takes now, and come out the same each time."""

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import browsing, needs_chromium
from tests.support.example import build, needs_npm
from tests.support.scale import only_in_ci
from tools.screenshots import IMAGES, take

pytestmark = [pytest.mark.anyio, needs_chromium, needs_npm, only_in_ci]

NAMES = {"docs.png", "docs-phone.png", "problem.png", "example.png"}

# Both pictures in cells of 40 pixels: fonts move outlines of letters, but not what is where.
COMPARE = """async (pictures) => {
  const CELL = 40;
  const cells = async (picture) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = Math.ceil(image.width / CELL);
    canvas.height = Math.ceil(image.height / CELL);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return { size: [image.width, image.height], data: context.getImageData(0, 0, canvas.width, canvas.height).data };
  };
  const [one, other] = await Promise.all(pictures.map(cells));
  let sum = 0;
  one.data.forEach((value, index) => { sum += Math.abs(value - (other.data[index] ?? 0)); });
  return { sizes: [one.size, other.size], difference: sum / one.data.length };
}"""


async def compared(*pairs: tuple[Path, Path]) -> list[Any]:
    """The sizes of two pictures, and by how much they differ in the mean, 0 to 255, for each pair."""
    async with browsing() as (page, watch):
        watch.hosts.add("127.0.0.1")
        return [
            await page.evaluate(COMPARE, [base64.b64encode(path.read_bytes()).decode() for path in pair])
            for pair in pairs
        ]


async def test_the_pictures_are_what_is_there_now(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    build(tmp_path / "page")
    for folder in (first, second):
        folder.mkdir()
        await take(folder, tmp_path / "page")
    assert {path.name for path in IMAGES.glob("*.png")} == {path.name for path in first.iterdir()} == NAMES
    names = sorted(NAMES)
    for name, now in zip(names, await compared(*((IMAGES / each, first / each) for each in names)), strict=True):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
        assert now["sizes"][0][0] == now["sizes"][1][0], name
        # Lines of text may break elsewhere with other fonts.
        assert now["sizes"][0][1] == pytest.approx(now["sizes"][1][1], rel=0.05), name
        assert now["difference"] < 6, name


async def test_another_page_is_noticed() -> None:
    (other,) = await compared((IMAGES / "docs.png", IMAGES / "problem.png"))
    assert other["difference"] > 50
