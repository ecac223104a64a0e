"""One question to the upstream client: sent, and its reply read."""

from collections.abc import Mapping

from app.lookup.failures import LookupFailure
from app.lookup.record import Answer
from app.upstream.client import UpstreamClient


async def ask(client: UpstreamClient, asked: Mapping[int, bool]) -> dict[int, Answer]:
    """The answers of a reply. Raises LookupFailure where there are none."""
    reply = await client.send(asked)
    outcome = reply if isinstance(reply, LookupFailure) else await client.read(asked, reply)
    if isinstance(outcome, LookupFailure):
        raise outcome
    return outcome
