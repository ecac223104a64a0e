"""``docs/upstream.md``: every line of its tables is shown by a case, and no case is claimed that is not there."""

import re
from pathlib import Path

import pytest

from app.upstream.errors import FRAGMENTS, WORDINGS
from tests.faults.catalogue import FAULTS
from tests.unit.upstream.known_lines import LINES
from tests.unit.upstream.wire_cases import CASES
from tests.unit.upstream.wire_cases import WORDINGS as TRIED

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8")


def lines() -> list[str]:
    """The first column of every table that says what we do."""
    found: list[str] = []
    for table in re.findall(r"\| possible \| what we do \|\n\| --- \| --- \|\n((?:\|.*\n)+)", DOCUMENT):
        found += [row.removeprefix("| ").split(" | ")[0] for row in table.splitlines()]
    return found


def test_every_line_is_shown_by_a_case() -> None:
    assert len(lines()) > 60
    for line in lines():
        assert sum(line.startswith(key) for key in LINES) == 1, line


@pytest.mark.parametrize("key", LINES)
def test_every_case_that_is_claimed_is_there(key: str) -> None:
    assert sum(line.startswith(key) for line in lines()) == 1
    known = {case.label for case in CASES} | {fault.name for group in FAULTS.values() for fault in group}
    assert LINES[key]
    for shown in LINES[key]:
        path, _, test = shown.partition("::")
        if test:
            assert re.search(rf"def {test}\(", (ROOT / path).read_text(encoding="utf-8")), shown
        else:
            assert shown in known


def test_every_wording_and_fragment_stands_in_the_document_and_is_tried_as_a_reply() -> None:
    for row in WORDINGS:
        if not row.text.endswith("…"):
            assert row.text in DOCUMENT, row
        assert any(re.fullmatch(row.text.replace("…", r"\w*"), text.rstrip(".")) for text in TRIED) or "…" in row.text
    for fragments in FRAGMENTS.values():
        for fragment in fragments:
            assert f"`{fragment}`" in DOCUMENT
