"""Reading the settings of this process, and saying what is wrong with them in one readable line each."""

import os
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from app.secrets import Parts, Secrets
from app.settings import SECRET_NAMES, Settings
from app.settings_fields import allowed_values
from app.settings_files import read_dotenv, unknown_names
from app.settings_urls import secrets_in
from app.settings_values import api_keys, webhook_token


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
    names = list(Settings.model_fields)
    try:
        dotenv = read_dotenv(Path(".env"))
        settings = Settings()
    except ValidationError as error:
        lines = [line for each in error.errors(include_url=False, include_input=False) for line in _readable(each)]
        # A name typed wrongly is often why another one is missing.
        raise SettingsError(lines + unknown_names("upstream_", names, os.environ, dotenv)) from None
    except (OSError, UnicodeError) as error:
        raise SettingsError([f".env or SECRETS_DIR: cannot be read ({type(error).__name__})"]) from None
    warnings = settings.warnings() + unknown_names("upstream_", names, os.environ, dotenv, settings.secrets_dir)
    fixed = {name.lower() for name, value in [*os.environ.items(), *dotenv.items()] if value and value.strip()}
    return settings, secrets_of(settings, from_files=[name for name in SECRET_NAMES if name not in fixed]), warnings


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


def _readable(error: ErrorDetails) -> list[str]:
    """``PORT: is out of range; allowed: 1 to 65535`` - never with the value, which may be a secret put in the
    wrong place. A list can have several mistakes, one on each line of the complaint."""
    context = error.get("ctx", {})
    name = context.get("name") or str(error["loc"][0])
    wrong = context.get("wrong") or _WRONG.get(error["type"], error["msg"])
    allowed = context.get("allowed") or allowed_values(Settings.model_fields[name])
    return [f"{name.upper()}: {line}" + (f"; allowed: {allowed}" if allowed else "") for line in wrong.splitlines()]
