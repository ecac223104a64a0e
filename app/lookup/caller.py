"""Who asks: what turns, shares and quotas count by, and what metrics may show of it."""

from dataclasses import dataclass, field

ADDRESS_LABEL = "address"
"""The label of every caller without a key: addresses are without number, and labels must not be."""


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller. ``identity``: the name of its key, else its address, an IPv6 one as its /64. ``label``: what metrics
    name it by, the key's name or one word for all addresses. ``key``: the digest of the key that it showed, if any; the
    same caller may show another one later."""

    identity: str
    label: str
    key: bytes | None = field(default=None, compare=False, repr=False)


INTERNAL = Caller("", "internal")
"""The service itself, where it asks for nobody in particular."""

POLLS = Caller("polls of the watcher", "polls")
"""The watcher, which asks for all who wait for changes. No key's name has a space."""
