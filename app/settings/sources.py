"""Where settings come from: the environment, ``.env``, and files named like the variable in ``SECRETS_DIR``.

Nothing here raises for what stands in a source. What cannot be read is an error, so that a setting which was meant is
never taken for one that is unset; what has no effect is a warning. Neither shows a value.
"""

import contextlib
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding, parse_stream

from app.settings.names import misspelled

DEFAULT_FOLDER = "/run/secrets"


class SettingError(NamedTuple):
    """What stops the start: the setting that it concerns, empty where that is not known, and what to tell."""

    name: str
    line: str


class Sources(NamedTuple):
    """What the sources say, without white space around values and without empty ones.

    ``values``: by field name, of the first source that has it. ``from_files``: the names whose value a file
    decides, now or later. ``misspelled``: names that have no effect, told with the errors as well, since
    they are often why something else is missing. ``places``: where was looked, for people.
    """

    values: dict[str, str]
    from_files: set[str]
    errors: list[SettingError]
    warnings: list[str]
    misspelled: list[str]
    places: str


class EnvFile(NamedTuple):
    """A ``.env`` file: values by name as written, empty ones left out."""

    values: dict[str, str]
    errors: list[SettingError]
    warnings: list[str]
    there: bool


def read_sources(names: Collection[str], environment: Mapping[str, str], env_file: Path) -> Sources:
    """Look for the settings of these names (lower case) in all sources, each of which is read once."""
    file = read_env_file(env_file, names)
    errors = list(file.errors)
    variables = _by_field(environment, names)
    for name, value in list(variables.items()):
        if not _is_unicode(value):
            errors.append(SettingError(name, f"{name.upper()}: is not UTF-8 in the environment"))
            del variables[name]
    written = _by_field(file.values, names)
    named = variables.get("secrets_dir") or written.get("secrets_dir")
    folder = Path(named or DEFAULT_FOLDER)
    if named and not folder.is_dir():
        errors.append(
            SettingError("secrets_dir", f"SECRETS_DIR: {named} is not there, or is no folder; allowed: a folder")
        )
    try:
        _path(folder, "secrets_dir")
    except OSError as error:
        errors.append(SettingError("secrets_dir", f"SECRETS_DIR: {folder} cannot be searched ({error.strerror})"))
        names_of_files: Collection[str] = ()
    else:
        names_of_files = names
    warnings = list(file.warnings)
    files: dict[str, str] = {}
    for name in names_of_files:
        try:
            secret = read_secret(folder, name)
        except (OSError, UnicodeError) as error:
            errors.append(SettingError(name, f"{name.upper()}: {_cannot_read(folder, name, error)}"))
            continue
        if secret is not None and (name in variables or name in written):
            warnings.append(f"{name.upper()}: a variable wins, so its file in {folder} is neither used nor read anew")
        elif secret is not None:
            files[name] = secret
        elif name not in variables and name not in written and _path(folder, name) is not None:
            warnings.append(f"{name.upper()}: its file in {folder} is empty, which means unset")
    for name, value in {**files, **variables}.items():
        if in_quotes(value):
            source = "the environment" if name in variables else f"its file in {folder}"
            errors.append(
                SettingError(
                    name, f"{name.upper()}: is still in quotes in {source}, where they are part of the value; allowed: "
                    "the value without them (in .env, unlike docker's --env-file, quotes may stand around it)",
                )
            )  # fmt: skip
    return Sources(
        values={**files, **written, **variables},
        from_files={*names} - {*variables, *written},
        errors=errors,
        warnings=warnings,
        misspelled=misspelled(names, [*environment, *file.values], _files(folder)),
        places=f"looked for in the environment, in {_place(env_file, file.there)} and in {_place(folder)}",
    )


def read_env_file(path: Path, names: Collection[str]) -> EnvFile:
    """Read a ``.env`` file, each value as it is written: ``${NAME}`` is not expanded.

    Of a name that is there twice the last value counts that is not empty.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return EnvFile({}, [], [], there=False)
    except OSError as error:
        return EnvFile({}, [SettingError("", f"{path}: cannot be read ({error.strerror})")], [], there=True)
    return parse_env_file(data, path, names)


def parse_env_file(data: bytes, path: Path, names: Collection[str]) -> EnvFile:
    """What the content of a ``.env`` file says."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return EnvFile({}, [SettingError("", f"{path}, line {line}: is not UTF-8")], [], there=True)
    values: dict[str, str] = {}
    lines: dict[str, int] = {}
    errors: list[SettingError] = []
    warnings: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        line = _line(binding)
        name = (binding.key or _name_in(binding)).lower()
        wrong = _wrong(binding, names)
        if wrong:
            errors.append(SettingError(name if name in names else "", f"{path}, line {line}: {wrong}"))
        elif binding.key is not None and binding.value and binding.value.strip():
            if name in names and name in lines:
                warnings.append(f"{path}, line {line}: {name.upper()} counts, and line {lines[name]} has no effect")
            if name in names and "${" in binding.value:
                warnings.append(f"{path}, line {line}: {name.upper()} is taken as written; ${{...}} is not expanded")
            values[name], lines[name] = binding.value, line
    return EnvFile(values, errors, warnings, there=True)


def read_secret(folder: Path, name: str) -> str | None:
    """The content of a secret's file without surrounding white space; None where it is missing or empty.

    Raises OSError or UnicodeError for a file that is there but cannot be read.
    """
    path = _path(folder, name)
    return (path.read_bytes().decode("utf-8-sig").strip() or None) if path else None


def in_quotes(value: str) -> bool:
    """Whether quotes stand around a value, as a file for ``docker run --env-file`` hands them on."""
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def _by_field(values: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """The values of settings by field name, in whichever case they are named; capitals win."""
    ordered = sorted(values.items(), key=lambda item: item[0].isupper())
    stripped = ((name.lower(), value.strip()) for name, value in ordered)
    return {name: value for name, value in stripped if name in names and value}


def _wrong(binding: Binding, names: Collection[str]) -> str:
    """What is wrong with an entry of ``.env``; empty where nothing is."""
    written = binding.original.string.strip()
    if "\0" in written:
        return "has NUL bytes; allowed: UTF-8"
    if binding.error and re.search(r"=\s*[\"']", written):
        return "has a quote that is not closed, or text behind the closing one; allowed: NAME=value, quotes in pairs"
    if binding.error or (binding.key is not None and binding.value is None):
        return "is not of the form NAME=value; a comment begins with #"
    _, *more = written.splitlines() or [""]
    swallowed = any(each and each[1].lower() in names for each in map(_NAME.match, more))
    if more and (swallowed or (binding.key or "").lower() in names):
        return "has a quote that is closed on a later line only; allowed: a value on one line"
    return ""


_NAME = re.compile(r"\s*(?:export\s+)?'?([A-Za-z_][A-Za-z0-9_]*)")


def _name_in(binding: Binding) -> str:
    found = _NAME.match(binding.original.string)
    return found[1] if found else ""


def _line(binding: Binding) -> int:
    """The line on which an entry begins; what was read of the file for it may begin with empty lines."""
    text = binding.original.string
    skipped = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", skipped))


def _is_unicode(text: str) -> bool:
    """Whether the bytes of a variable were UTF-8: Python keeps others as surrogates (PEP 383)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _path(folder: Path, name: str) -> Path | None:
    """Where a secret's file is, in either spelling: also one that cannot be read, or whose link leads nowhere."""
    for spelling in (name.upper(), name.lower()):
        path = folder / spelling
        # Path.exists() says that a file is not there where the folder may not be searched, from Python 3.14 on.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.lstat()
            return path
    return None


def _cannot_read(folder: Path, name: str, error: OSError | UnicodeError) -> str:
    if isinstance(error, OSError):
        return f"the file {error.filename or folder / name.upper()} cannot be read ({error.strerror})"
    return f"the file {_path(folder, name)} is not UTF-8"


def _files(folder: Path) -> list[str]:
    """The names in a folder but hidden ones, as those that Kubernetes makes; none where it cannot be listed."""
    try:
        return [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def _place(path: Path, there: bool | None = None) -> str:
    found = path.is_dir() if there is None else there
    return f"{path.absolute()}{'' if found else ' (which is not there)'}"
