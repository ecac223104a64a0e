"""Reading the settings of this process, and saying what is wrong with them in one readable line each."""

import os
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.fields import ROTATING, Settings, allowed_values
from app.settings.libraries import wrong_library_variables
from app.settings.parsed import SANDBOX_URL, InvalidValue
from app.settings.rotation import Secrets
from app.settings.sources import read_sources


class SettingsError(Exception):
    """The settings are unusable; ``lines`` holds one readable line per error, free of values and secrets."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load_settings() -> tuple[Settings, Secrets, list[str]]:
    """Read the settings of this process.

    Returns the settings, the secrets among them that files may change, and the warnings. Raises SettingsError with
    a line for each error.
    """
    sources = read_sources(Settings.model_fields.keys(), os.environ, Path(".env"))
    lines = [error.line for error in sources.errors] + wrong_library_variables(
        os.environ, sandboxed=sources.values.get("upstream_url") == SANDBOX_URL
    )
    try:
        settings = Settings(**sources.values)
    except ValidationError as error:
        told = {each.name for each in sources.errors}
        for each in error.errors(include_url=False, include_input=False):
            lines += _readable(each, sources.places, told)
    if lines:
        # A name typed wrongly is often why another one is missing.
        raise SettingsError(lines + sources.misspelled)
    secrets = Secrets(settings, [name for name in ROTATING if name in sources.from_files])
    return settings, secrets, settings.warnings() + sources.warnings + sources.misspelled


_WRONG = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a number",
    "greater_than_equal": "is out of range",
    "less_than_equal": "is out of range",
    "literal_error": "is not one of the possible values",
}


def _readable(error: ErrorDetails, places: str, told: set[str]) -> list[str]:
    """``PORT: is out of range; allowed: 1 to 65535`` - never with the value, which may be a secret put in the
    wrong place. Nothing for the settings in ``told``: their value was not even read."""
    if error["type"] == "default_factory_not_called":
        return []  # its default depends on another setting, and is not missed
    raised = error.get("ctx", {}).get("error")
    invalid = raised if isinstance(raised, InvalidValue) else InvalidValue(_WRONG.get(error["type"], error["msg"]))
    name = invalid.name or str(error["loc"][0])
    if name in told:
        return []
    looked = f" ({places})" if invalid.missing else ""
    allowed = invalid.allowed or allowed_values(Settings.model_fields[name])
    end = looked + (f"; allowed: {allowed}" if allowed else "")
    return [f"{name.upper()}: {line}{end}" for line in invalid.lines]
