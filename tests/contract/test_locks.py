"""The locks pin whatever pip asks for, extras included, so that they stay installable when newer versions appear."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
LOCKS = ("requirements.lock", "requirements-dev.lock")
MACHINES = [
    {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": system, "os_name": family,
     "platform_system": name}
    for version in ("3.11", "3.12", "3.13", "3.14")
    for system, family, name in (("linux", "posix", "Linux"), ("darwin", "posix", "Darwin"), ("win32", "nt", "Windows"))
]  # fmt: skip


def pins(text: str) -> dict[str, Requirement]:
    """The pinned requirements of a lock, by name."""
    lines = [line.removesuffix("\\").strip() for line in text.splitlines() if re.match(r"[A-Za-z0-9]", line)]
    return {canonicalize_name(each.name): each for each in map(Requirement, lines)}


def asked_for(requirement: Requirement, extras: Iterable[str], machine: Mapping[str, str]) -> bool:
    """Whether a package that is installed with these extras asks for the requirement on such a machine."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**machine, "extra": extra}) for extra in ("", *extras))


def unpinned(locked: Mapping[str, Requirement], roots: Iterable[str] = ()) -> Iterator[str]:
    """What ``roots`` and the locked packages ask for, by the metadata of those installed, and no pin meets."""
    wanted: list[tuple[str, Requirement, tuple[str, ...]]] = [
        ("pyproject.toml", Requirement(root), ()) for root in roots
    ]
    for pin in locked.values():
        try:
            wanted += [(pin.name, Requirement(line), tuple(pin.extras)) for line in requires(pin.name) or []]
        except PackageNotFoundError:
            # Another system's; this one must have all that its markers admit.
            assert pin.marker is not None, f"{pin.name} is not installed"
            assert not pin.marker.evaluate(), f"{pin.name} is not installed"
    for owner, requirement, extras in wanted:
        for machine in MACHINES:
            if asked_for(requirement, extras, machine):
                found = locked.get(canonicalize_name(requirement.name))
                met = (
                    found is not None
                    and requirement.extras <= found.extras
                    and all(requirement.specifier.contains(each.version, prereleases=True) for each in found.specifier)
                    and asked_for(found, (), machine)
                )
                if not met:
                    yield f"{owner} asks for {requirement}"
                    break


def roots(lock: str) -> list[str]:
    """What the project itself asks for in a lock."""
    document: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    optional = document["project"]["optional-dependencies"].values()
    wanted = [*document["project"]["dependencies"], *(each for group in optional for each in group)]
    return wanted + (document["dependency-groups"]["dev"] if "dev" in lock else [])


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_requirement_of_every_package_in_it(lock: str) -> None:
    locked = pins((ROOT / lock).read_text(encoding="utf-8"))
    assert len(locked) > 20
    assert list(unpinned(locked, roots(lock))) == []


@pytest.mark.parametrize(
    ("written", "broken", "found"),
    [
        ("coverage[toml]==", "coverage==", "pytest-cov asks for coverage[toml]"),
        ("respx==0", "respx==0.1.0#", "pyproject.toml asks for respx"),
        ("\npluggy==", "\n#pluggy==", "pytest asks for pluggy"),
    ],
)
def test_a_pin_without_its_extra_and_one_that_is_gone_are_found(written: str, broken: str, found: str) -> None:
    text = (ROOT / "requirements-dev.lock").read_text(encoding="utf-8")
    assert written in text
    missing = list(unpinned(pins(re.sub(r"==0\.1\.0#\S*", "==0.1.0", text.replace(written, broken))), roots("dev")))
    assert any(each.startswith(found) for each in missing), missing


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_package_index_and_has_a_hash_for_every_pin(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text.replace("--no-emit-index-url", "")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)[1:]
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
    assert len(blocks) == len(pins(text))
