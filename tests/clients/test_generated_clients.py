"""docs/clients.md: what it shows is generated, checked under strict rules, and run against a real process."""

import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.processes import listening
from tests.support.running import free_port
from tests.support.scale import only_in_ci

PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
NODE = ROOT / "openapi" / "clients"
NODE_PROGRAMS = NODE / "node_modules" / ".bin"
PYTHON_PROGRAMS = ROOT / ".venv-clients" / "bin"
URL, KEY = "http://127.0.0.1:8000", "0123456789abcdef"
GENERATORS = {"openapi-typescript", "swagger-typescript-api", "openapi-python-client", "datamodel-codegen"}


@dataclass(frozen=True)
class Shown:
    """One section of the page."""

    command: list[str]
    language: str
    lines: str

    @property
    def program(self) -> str:
        """The generator."""
        return self.command[0]


SHOWN = [
    Shown(shlex.split(command), language, lines)
    for command, language, lines in re.findall(r"```sh\n(.*?)\n```\n\n```(ts|python)\n(.*?)```", PAGE, re.DOTALL)
]


def printed() -> str:
    """What the page says that each example prints."""
    found = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def run(folder: Path, program: Path | str, *arguments: str) -> str:
    """What a program prints that has to succeed."""
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    plain.pop("PYTHONPATH", None)
    done = subprocess.run(
        [str(program), *arguments], cwd=folder, env=plain, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check_and_run(shown: Shown, folder: Path) -> str:
    """Check the types of the example and of what was generated, and run it."""
    if shown.language == "ts":
        (folder / "example.ts").write_text(shown.lines, encoding="utf-8")
        (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
        shutil.copy(NODE / "tsconfig.json", folder)
        (folder / "node_modules").symlink_to(NODE / "node_modules")
        run(folder, NODE_PROGRAMS / "tsc")
        return run(folder, "node", "example.js")
    (folder / "example.py").write_text(shown.lines, encoding="utf-8")
    run(folder, PYTHON_PROGRAMS / "python", "-m", "mypy", "--strict", "example.py")
    return run(folder, PYTHON_PROGRAMS / "python", "example.py")


def test_the_page_shows_each_generator() -> None:
    assert {shown.program for shown in SHOWN} == GENERATORS
    assert [shown.language for shown in SHOWN] == ["ts", "ts", "python", "python"]
    for shown in SHOWN:
        assert URL in shown.lines
        assert KEY in shown.lines


@only_in_ci
@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.program)
def test_a_generated_client_has_strict_types_and_does_what_the_page_says(shown: Shown, tmp_path: Path) -> None:
    programs = NODE_PROGRAMS if shown.language == "ts" else PYTHON_PROGRAMS
    if not (programs / shown.program).exists():
        pytest.skip(f"{shown.program} is not installed; `make clients` does it")
    folder, empty, port = tmp_path / "client", tmp_path / "service", free_port()
    folder.mkdir()
    empty.mkdir()
    shutil.copy(ROOT / "openapi" / "openapi.yaml", folder)
    run(folder, programs / shown.program, *shown.command[1:])
    here = Shown(shown.command, shown.language, shown.lines.replace(URL, f"http://127.0.0.1:{port}"))
    with listening(empty, "app", port, PORT=str(port), UPSTREAM_URL="sandbox:", API_KEYS=f"shop:{KEY}"):
        assert check_and_run(here, folder) == printed()


def test_the_locks_name_no_registry_and_pin_with_hashes() -> None:
    for name in ("package.json", "package-lock.json", ".npmrc", "requirements.lock"):
        text = (NODE / name).read_text(encoding="utf-8")
        assert '"resolved"' not in text
        assert not re.search(r"registry\.|--index-url |//[^\s\"]*:_auth", text.replace("--no-emit-index-url", ""))
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (NODE / "requirements.lock").read_text(encoding="utf-8"))[1:]
    assert len(blocks) > 20
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
