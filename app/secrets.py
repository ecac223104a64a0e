"""Secrets that rotate: values from files are read anew while the service runs.

Kubernetes swaps the whole folder at once (``..data``), other tools write a file in place; so a changed file counts
once it has stayed the same for one look, and what is empty, half-written, unreadable or gone leaves the old value in
force.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

from app.settings_files import read_secret
from app.telemetry.redaction import Own

LOOK_SECONDS = 1.5
"""Between two looks; a change counts at the second, so it is noticed within 3 s and one event-loop hiccup."""
MAX_FORMER = 50
"""Former values that are still kept out of the log; those in force always are."""

Parts = Callable[[str], Iterable[str]]

log = logging.getLogger(__name__)


class Secrets:
    """The current secrets by setting name (``upstream_token``).

    ``from_files``: the names that files may change. ``parts``: for a name whose value holds several secrets, what
    yields them; it raises ValueError for a value that must not come into force.
    """

    def __init__(
        self,
        values: Mapping[str, str | None],
        folder: Path,
        from_files: Iterable[str] = (),
        parts: Mapping[str, Parts] | None = None,
    ) -> None:
        self._values = dict(values)
        self._folder = folder
        self._from_files = tuple(from_files)
        self._pending: dict[str, str] = {}
        self._complained: set[str] = set()
        self._parts = dict(parts or {})
        self._in_force = {name: self._secrets_in(name, value) for name, value in values.items() if value}
        self._former: list[tuple[str, ...]] = []
        self._seen = tuple(chain.from_iterable(self._in_force.values()))

    def get(self, name: str) -> str | None:
        """The value that is in force; None where there is none."""
        return self._values.get(name)

    def seen(self) -> tuple[str, ...]:
        """Every secret that is or was in force, for the log's filter."""
        return self._seen

    def refresh(self, prefix: str = "", *, at_once: bool = False) -> list[str]:
        """Look at the files of the names that begin with ``prefix``. Returns the names whose value has changed.

        ``at_once``: take what is there now, since the value in force is known to be bad.
        """
        changed = []
        for name in self._from_files:
            if not name.startswith(prefix):
                continue
            value = self._read(name)
            if value is None or value == self._values.get(name):
                self._pending.pop(name, None)
            elif at_once or self._pending.get(name) == value:
                self._pending.pop(name, None)
                self._values[name] = value
                self._former = [*self._former, self._in_force.get(name, ())][-MAX_FORMER:]
                self._in_force[name] = self._secrets_in(name, value)
                self._seen = tuple(chain.from_iterable([*self._former, *self._in_force.values()]))
                changed.append(name)
            else:
                self._pending[name] = value
        if changed:
            log.info("read anew from files: %s", Own(", ".join(name.upper() for name in changed)))
        return changed

    def _read(self, name: str) -> str | None:
        """A file's value; None, and one line in the log, where an old value has to do."""
        wrong = "is empty, unreadable or gone"
        expected = self._values.get(name) is not None
        try:
            value = read_secret(self._folder, name)
            if value is not None:
                self._secrets_in(name, value)
        except (OSError, UnicodeError):
            value = None
        except ValueError as error:
            value, expected, wrong = None, True, f"is wrong ({'; '.join(str(error).splitlines())})"
        if value is not None:
            self._complained.discard(name)
        elif expected and name not in self._complained:
            self._complained.add(name)
            log.warning("the file of %s %s: its former value stays in force", Own(name.upper()), Own(wrong))
        return value

    def _secrets_in(self, name: str, value: str) -> tuple[str, ...]:
        return tuple(self._parts[name](value)) if name in self._parts else (value,)
