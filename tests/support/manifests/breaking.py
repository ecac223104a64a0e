"""Break one fact in a copy of an overlay's documents."""

import copy
from dataclasses import dataclass
from typing import Any

from tests.support.manifests.checks import Check
from tests.support.manifests.reading import Documents, all_of

GONE: Any = object()
"""In place of a value: the key, or the item of a list, is removed."""


@dataclass(frozen=True)
class Break:
    """One broken fact: which check must complain, with which words, when this place holds that value."""

    check: Check
    complaint: str
    place: str
    """The document's kind and a JSON pointer (RFC 6901) into it; ``-`` stands for the end of a list. The kind alone
    means the document."""
    value: Any
    overlay: str = "production"

    def __str__(self) -> str:
        return f"{self.check.__name__.removeprefix('check_')}-{self.complaint}-{self.place.rpartition('/')[2]}"

    def of(self, documents: Documents) -> Documents:
        """A copy of the documents, broken."""
        broken = copy.deepcopy(documents)
        kind, *keys = [key.replace("~1", "/") for key in self.place.split("/")]
        (document,) = all_of(broken, kind)
        if not keys:
            assert self.value is GONE
            return [each for each in broken if each is not document]
        at: Any = document
        for key in keys[:-1]:
            at = at[int(key)] if isinstance(at, list) else at.setdefault(key, {})
        _put(at, keys[-1], self.value)
        return broken


def _put(at: Any, key: str, value: Any) -> None:
    if isinstance(at, list):
        if key == "-":
            at.append(value)
        elif value is GONE:
            del at[int(key)]
        else:
            at[int(key)] = value
    elif value is GONE:
        del at[key]
    else:
        at[key] = value
