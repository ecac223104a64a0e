"""Reading the settings of this process, and saying what is wrong with them in one readable line each."""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.settings.described import allowed_values
from app.settings.fields import SECRET_NAMES, Settings
from app.settings.libraries import wrong_library_variables
from app.settings.parsed import api_keys, webhook_token
from app.settings.rotation import Parts, Secrets
from app.settings.sources import read_sources
from app.settings.urls import secrets_in


class SettingsError(Exception):
    """The settings are unusable; ``lines`` holds one readable line per mistake, free of values and secrets."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def load_settings() -> tuple[Settings, Secrets, list[str]]:
    """Read the settings of this process.

    Returns the settings, the secrets among them that files may change, and the warnings. Raises SettingsError with
    a line for each mistake.
    """
    sources = read_sources(Settings.model_fields.keys(), os.environ, Path(".env"))
    lines = [mistake.line for mistake in sources.mistakes] + wrong_library_variables(os.environ)
    try:
        settings = Settings(**sources.values)
    except ValidationError as error:
        told = {mistake.name for mistake in sources.mistakes}
        for each in error.errors(include_url=False, include_input=False):
            if _name(each) not in told:
                lines += _readable(each, sources.places)
    if lines:
        # A name typed wrongly is often why another one is missing.
        raise SettingsError(lines + sources.misspelled)
    secrets = secrets_of(settings, from_files=[name for name in SECRET_NAMES if name in sources.from_files])
    return settings, secrets, settings.warnings() + sources.warnings + sources.misspelled


def secrets_of(settings: Settings, from_files: Iterable[str] = ()) -> Secrets:
    """The secrets among the settings; those named in ``from_files`` are read anew when their file changes."""
    values = {name: getattr(settings, name) for name in SECRET_NAMES}
    plain = {name: value.get_secret_value() if value else None for name, value in values.items()}
    # Not read anew, but no log may show it.
    plain["cache_url"] = settings.shared_cache_url
    return Secrets(plain, Path(settings.secrets_dir), from_files, parts=_PARTS)


_PARTS: dict[str, Parts] = {
    "api_keys": api_keys,
    "cache_url": secrets_in,
    "webhook_token": lambda text: [webhook_token(text)],
}


_WRONG = {
    "int_parsing": "is not a whole number",
    "int_from_float": "is not a whole number",
    "float_parsing": "is not a number",
    "finite_number": "is not a number",
    "greater_than_equal": "is out of range",
    "less_than_equal": "is out of range",
    "literal_error": "is not one of the possible values",
}


def _name(error: ErrorDetails) -> str:
    """The field that a complaint is about."""
    return str(error.get("ctx", {}).get("name") or error["loc"][0])


def _readable(error: ErrorDetails, places: str) -> list[str]:
    """``PORT: is out of range; allowed: 1 to 65535`` - never with the value, which may be a secret put in the
    wrong place. A list can have several mistakes, one on each line of the complaint."""
    context = error.get("ctx", {})
    name = _name(error)
    wrong = context.get("wrong") or _WRONG.get(error["type"], error["msg"])
    allowed = context.get("allowed") or allowed_values(Settings.model_fields[name])
    looked = f" ({places})" if error["type"] == "missing" else ""
    return [
        f"{name.upper()}: {line}{looked}" + (f"; allowed: {allowed}" if allowed else "") for line in wrong.splitlines()
    ]
