"""Secrets that rotate: values from files are read anew while the service runs.

Kubernetes swaps the whole folder at once (``..data``), other tools write a file in place; so a changed file counts
once it has stayed the same for one look, and what is empty, half-written, wrong, unreadable or gone leaves the old
value in force.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

from app.settings.fields import ROTATING, Settings
from app.settings.parsed import ApiKeys, InvalidValue, Secret, WebhookToken
from app.settings.sources import in_quotes, read_secret
from app.telemetry.redaction import NotSecret

LOOK_SECONDS = 1.5
"""Between two looks; a change counts at the second, so it is noticed within 3 s and one event-loop hiccup."""
MAX_FORMER = 50
"""Former values that are still kept out of the log; those in force always are."""

log = logging.getLogger(__name__)


class Secrets:
    """The secrets in force: those of the settings, until a file changes one of the names in ``from_files``.

    ``api_keys``: the callers' keys; None means that no key is needed.
    """

    def __init__(self, settings: Settings, from_files: Iterable[str] = ()) -> None:
        self._values: dict[str, Secret | None] = {name: getattr(settings, name) for name in ROTATING}
        self._folder = Path(settings.secrets_dir)
        self._from_files = tuple(from_files)
        self._pending: dict[str, Secret] = {}
        self._complained: set[str] = set()
        # Not read anew, but no log may show it.
        self._fixed = settings.cache_url.parts
        self._former: list[Secret] = []
        self._seen = self._all_parts()
        self.api_keys = self._api_keys()

    def get(self, name: str) -> str | None:
        """The value in force of a setting (``upstream_token``); None where there is none."""
        value = self._values[name]
        return None if value is None else value.get_secret_value()

    @property
    def webhook_token(self) -> WebhookToken | None:
        """The webhook's token in force; None means that there is no webhook."""
        value = self._values["webhook_token"]
        return value if isinstance(value, WebhookToken) else None

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
            now, value = self._values[name], self._read(name)
            if value is None or value == now:
                self._pending.pop(name, None)
            elif at_once or self._pending.get(name) == value:
                self._pending.pop(name, None)
                self._values[name] = value
                self._former = [*self._former, *([] if now is None else [now])][-MAX_FORMER:]
                changed.append(name)
            else:
                self._pending[name] = value
        if changed:
            self._seen = self._all_parts()
            self.api_keys = self._api_keys()
            log.info("read anew from files: %s", NotSecret(", ".join(name.upper() for name in changed)))
        return changed

    def _read(self, name: str) -> Secret | None:
        """A file's value; None, and one line in the log, where an old value has to do."""
        now = self._values[name]
        value, expected, wrong = None, now is not None, "is empty, unreadable or gone"
        try:
            text = read_secret(self._folder, name)
            if text is not None:
                value = now if now is not None and now.get_secret_value() == text else _parse(name, text)
        except InvalidValue as error:
            expected, wrong = True, f"is wrong ({'; '.join(error.lines)})"
        except (OSError, UnicodeError):
            pass
        if value is not None:
            self._complained.discard(name)
        elif expected and name not in self._complained:
            self._complained.add(name)
            log.warning("the file of %s %s: its former value stays in force", NotSecret(name.upper()), NotSecret(wrong))
        return value

    def _api_keys(self) -> ApiKeys | None:
        value = self._values["api_keys"]
        return value if isinstance(value, ApiKeys) else None

    def _all_parts(self) -> tuple[str, ...]:
        values = (*self._former, *filter(None, self._values.values()))
        return (*(part for value in values for part in value.parts), *self._fixed)


def _parse(name: str, text: str) -> Secret:
    if in_quotes(text):
        raise InvalidValue("is still in quotes, which would be part of the value")
    return ROTATING[name](text)
