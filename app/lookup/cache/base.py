"""What the engine needs of a cache."""

from collections.abc import Collection
from typing import Protocol

from app.lookup.lifetimes import Cached
from app.lookup.record import Cacheable


class Cache(Protocol):
    """A store of answers that forgets what is too old."""

    async def get_many(self, ids: Collection[int], detail: bool = False, *, as_use: bool = True) -> dict[int, Cached]:
        """What is known and still good, for those ids of which something is.

        ``detail``: whether it is wanted, for a cache that can look for it in a second place. What comes back may
        still be without it. ``as_use``: whether this read counts as a use, for the order in which answers
        make room and for ``saved``.
        """

    def at_hand(self, id_: int, detail: bool) -> Cached | None:
        """The state of a message with what is wanted, where this process has it at once and it is still good."""

    def put(self, id_: int, answer: Cacheable, *, reported: bool = False, replied_at: float | None = None) -> Cached:
        """Keep an answer that the platform gave at ``replied_at``, or just now. Returns what counts from now on.

        ``reported``: the platform gave it of its own accord, which makes every state a new one.
        """

    async def aclose(self) -> None:
        """Let go of everything that was opened."""
