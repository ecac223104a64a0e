"""Settings that come from files: one file per secret, ``.env``, and the search for names typed wrongly."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource


class SecretFiles(PydanticBaseSettingsSource):
    """Files named like a setting (in capitals or not) in ``SECRETS_DIR``, as Docker and Kubernetes mount them.

    pydantic-settings' own source refuses links that leave the folder, and warns on standard error where this one
    must be silent: the folder is used where it exists.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """One setting's file, or None. Raises OSError or UnicodeError for a file that cannot be read."""
        folder = self.current_state.get("secrets_dir") or self.settings_cls.model_fields["secrets_dir"].default
        return read_secret(Path(str(folder).strip()), field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every setting that has a file."""
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class WithoutBlanks(PydanticBaseSettingsSource):
    """Another source less its values of nothing but white space, which would hide those of the sources after it."""

    def __init__(self, source: PydanticBaseSettingsSource) -> None:
        super().__init__(source.settings_cls)
        self._source = source

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """As the other source has it."""
        return self._source.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Every setting of the other source that has a value."""
        return {name: value for name, value in self._source().items() if not isinstance(value, str) or value.strip()}


def read_secret(folder: Path, name: str) -> str | None:
    """The content of a secret's file without surrounding white space; None where it is missing or empty."""
    for spelling in (name.upper(), name.lower()):
        path = folder / spelling
        if path.is_file():
            return path.read_text(encoding="utf-8-sig").strip() or None
    return None


def read_dotenv(path: Path) -> Mapping[str, str | None]:
    """The names and values of a ``.env`` file; nothing where there is none."""
    return dotenv_values(path, encoding="utf-8") if path.is_file() else {}


def unknown_names(
    prefix: str,
    known: Iterable[str],
    environment: Mapping[str, str],
    dotenv: Mapping[str, str | None],
    folder: str | None = None,
) -> list[str]:
    """A line for every name that begins with ``prefix`` but is no setting, with the nearest one that is."""
    known = list(known)
    try:
        files = [path.name for path in Path(folder).iterdir()] if folder else []
    except OSError:
        files = []
    present = {name.lower() for name in [*environment, *dotenv, *files]}
    lines = []
    for name in sorted(name for name in present if name.startswith(prefix) and name not in known):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0)
        lines.append(f"{name.upper()}: is not a setting and has no effect; did you mean {near[0].upper()}?")
    return lines
