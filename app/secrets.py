"""Secrets that rotate: values from files are read anew while the service runs.

Kubernetes swaps the whole folder at once (``..data``), other tools write a file in place; so a changed file counts
once it has stayed the same for one look, and what is empty, half-written or gone leaves the old value in force.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from app.settings_files import read_secret

LOOK_SECONDS = 1.5
"""Between two looks; a change counts at the second, so it is noticed within 3 s and one event-loop hiccup."""
MAX_SEEN = 50
"""Former values that are still kept out of the log."""

Changed = Callable[[Collection[str]], None]

log = logging.getLogger(__name__)


class Secrets:
    """The current secrets by setting name (``upstream_token``). ``from_files``: the names that files may change."""

    def __init__(self, values: Mapping[str, str | None], folder: Path, from_files: Iterable[str] = ()) -> None:
        self._values = dict(values)
        self._folder = folder
        self._from_files = tuple(from_files)
        self._pending: dict[str, str] = {}
        self._complained: set[str] = set()
        self._seen = [value for value in values.values() if value]
        self._listeners: list[Changed] = []

    def get(self, name: str) -> str | None:
        """The value that is in force; None where there is none."""
        return self._values.get(name)

    def seen(self) -> tuple[str, ...]:
        """Every value that is or was in force, for the log's filter."""
        return tuple(self._seen)

    def on_change(self, listener: Changed) -> None:
        """Call ``listener`` with the names whenever values have changed."""
        self._listeners.append(listener)

    def refresh(self, *, at_once: bool = False) -> bool:
        """Look at the files. Returns whether a value changed.

        ``at_once``: take what is there now, since the value in force is known to be bad.
        """
        changed = []
        for name in self._from_files:
            value = self._read(name)
            if value is None or value == self._values.get(name):
                self._pending.pop(name, None)
            elif at_once or self._pending.get(name) == value:
                self._pending.pop(name, None)
                self._values[name] = value
                self._seen = [*self._seen, value][-MAX_SEEN:]
                changed.append(name)
            else:
                self._pending[name] = value
        if changed:
            log.info("read anew from files: %s", ", ".join(name.upper() for name in changed))
            for listener in self._listeners:
                listener(changed)
        return bool(changed)

    async def watch(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.refresh()

    def _read(self, name: str) -> str | None:
        """A file's value; None, and one line in the log, where an old value has to do."""
        try:
            value = read_secret(self._folder, name)
        except (OSError, UnicodeError):
            value = None
        if value is not None:
            self._complained.discard(name)
        elif self._values.get(name) is not None and name not in self._complained:
            self._complained.add(name)
            log.warning("the file of %s is empty, unreadable or gone: its former value stays in force", name.upper())
        return value
