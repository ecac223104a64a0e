"""The lookup: from ids to answers."""

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence

from app.lookup.failures import DeadlinePassed, LookupFailure, MessageNotFound
from app.lookup.platform import Answer, Platform

log = logging.getLogger(__name__)


class Engine:
    """Answers for any number of ids, in requests of limited size, a limited number of them at a time."""

    def __init__(self, platform: Platform, *, batch_size: int, max_in_flight: int, deadline: float) -> None:
        self._platform = platform
        self._batch_size = batch_size
        self._slots = asyncio.Semaphore(max_in_flight)
        self._deadline = deadline

    async def lookup(self, ids: Sequence[int], detail: bool) -> dict[int, Answer]:
        """An answer for each distinct id, in the order asked. Never raises LookupFailure: failures are answers."""
        distinct = list(dict.fromkeys(ids))
        batches = [list(batch) for batch in _batched(distinct, self._batch_size)]
        answers: dict[int, Answer] = dict.fromkeys(distinct, DeadlinePassed("the deadline is over"))
        try:
            async with asyncio.timeout(self._deadline), asyncio.TaskGroup() as tasks:
                for batch in batches:
                    tasks.create_task(self._ask(batch, detail, answers))
        except TimeoutError:
            log.info("the deadline is over")
        return answers

    async def _ask(self, batch: list[int], detail: bool, answers: dict[int, Answer]) -> None:
        async with self._slots:
            try:
                found: Mapping[int, Answer] = await self._platform.ask(dict.fromkeys(batch, detail))
            except LookupFailure as failure:
                log.log(failure.log_level, "upstream request failed: %s (%s)", failure, failure.slug)
                found = dict.fromkeys(batch, failure)
        for id_ in batch:
            answers[id_] = found.get(id_) or MessageNotFound("the platform's reply leaves it out")


def _batched(ids: list[int], size: int) -> list[list[int]]:
    return [list(itertools.islice(ids, start, start + size)) for start in range(0, len(ids), size)]
