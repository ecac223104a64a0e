"""What the engine needs of a platform, whichever it is."""

from collections.abc import Callable, Mapping
from typing import Protocol

from app.lookup.failures import LookupFailure
from app.lookup.states import MessageRecord

Answer = MessageRecord | LookupFailure
"""What a lookup ends with. A failure is an answer like any other."""


class Platform(Protocol):
    """Something that knows the states of messages."""

    async def ask(self, asked: Mapping[int, bool], replied: Callable[[], bool]) -> dict[int, Answer]:
        """Ask for several ids, each with whether detail is wanted, in one request.

        ``replied`` may be called once, as soon as the whole reply is there and before it is read, unless it looks like
        an error: then the platform may have the next request, and the result says whether one leaves.
        Returns an answer for each id that the reply speaks of; what a missing one means is the engine's decision.
        Raises LookupFailure when the request failed as a whole.
        """
