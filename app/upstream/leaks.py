"""Whether a text of the platform's holds a credential, or so much of one that the rest could be guessed.

The platform may repeat what it was sent, cut off or encoded. Of a credential of eight characters or more no six in a
row are shown, neither as they are nor as they stand in its base64, percent-encoded or hexadecimal form. A shorter one
is searched for as a whole, and one of fewer than four characters not at all: a login ``e`` stands in every harmless
text.
"""

import base64
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote

MIN_SEARCHED = 4
LONG = 8
RUN = 6
PIECE = 3

_HEXADECIMAL = re.compile(rf"[0-9a-f]{{{2 * RUN},}}")
"""Shorter ones are numbers of messages and telephones more often than six characters of anything."""


class Leaks:
    """Searches for some credentials, in whatever case."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self.longest = max(map(len, secrets), default=0)
        self._alone = frozenset(secret.casefold() for secret in secrets)
        self._whole = [secret.casefold() for secret in secrets if len(secret) >= MIN_SEARCHED]
        self._runs = frozenset(
            run
            for secret in secrets
            if len(secret) >= LONG
            for form in _forms(secret)
            for run in _runs(form.casefold())
        )
        self._hexadecimal = frozenset(
            run
            for secret in secrets
            if len(secret) >= LONG
            for run in _runs(secret.encode(errors="replace").hex(), 2 * RUN)
        )
        self._pieces = frozenset(run[at : at + PIECE] for run in self._runs for at in range(RUN - PIECE + 1))

    def is_in(self, text: str) -> bool:
        """Whether a text shows any of them."""
        folded = text.casefold()
        if folded in self._alone or any(secret in folded for secret in self._whole):
            return True
        if any(not self._hexadecimal.isdisjoint(_runs(each, 2 * RUN)) for each in _HEXADECIMAL.findall(folded)):
            return True
        # Every run has one of these pieces in it, wherever it begins: most texts are done with a quarter of the work.
        if self._pieces.isdisjoint([folded[at : at + PIECE] for at in range(0, len(folded), RUN - PIECE + 1)]):
            return False
        return not self._runs.isdisjoint(_runs(folded))


@lru_cache(maxsize=8)
def leaks_of(secrets: tuple[str, ...]) -> Leaks:
    """The search for these credentials, which is prepared once: a reply may have a thousand texts."""
    return Leaks(secrets)


def _runs(text: str, length: int = RUN) -> list[str]:
    return [text[at : at + length] for at in range(len(text) - length + 1)]


def _forms(secret: str) -> Iterator[str]:
    """A credential as it is, percent-encoded, and in base64, which has three forms: by what stands before it.

    Six characters of a credential, wherever they stand in a text in base64, are at least six of one of these.
    """
    raw = secret.encode(errors="replace")
    yield secret
    yield quote(raw, safe="")
    for before in range(3):
        form = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        # Less the characters at both ends that what stands beside it has a part in.
        inner = form[(0, 2, 3)[before] : len(form) - ((before + len(raw)) % 3 > 0)]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
