"""docs/architecture.md speaks of modules that there are, and keeps what it says of the cost of a change."""

import re

import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_, _, COSTS = TEXT.partition("## What a change costs")
ROWS = re.findall(r"^\| ([^|]+) \((a folder and )?(\d+)\) \| ([^|]+) \|$", COSTS, re.MULTILINE)
BOUNDS = {
    "a new field in the public answer": 5,
    "another HTTP client": 2,
    "a second account": 4,
    "a second platform": 4,
}


def modules(text: str) -> list[str]:
    return re.findall(r"`([a-z_/]+\.py)`", re.sub(r"\([^()]*\)", "", text))


def test_every_module_that_is_named_exists() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", TEXT.partition("<!-- modules")[0] + COSTS))
    assert len(named) > 10
    missing = {name for name in named if not (ROOT / "app" / name).exists() and not list((ROOT / "app").rglob(name))}
    assert missing == set()
    rooms = set(re.findall(r"`((?:api|lookup|upstream|server|telemetry)/[a-z_/]+)`", TEXT))
    assert {room for room in rooms if not (ROOT / "app" / f"{room}.py").exists()} == set()


@pytest.mark.parametrize(("change", "folder", "number", "files"), ROWS)
def test_a_change_costs_no_more_files_than_are_listed(change: str, folder: str, number: str, files: str) -> None:
    listed = modules(files)
    assert len(listed) <= int(number) + bool(folder)
    assert int(number) <= BOUNDS.get(change, 5)


def test_the_costs_that_were_promised_are_there() -> None:
    assert BOUNDS.keys() <= {change for change, *_ in ROWS}
