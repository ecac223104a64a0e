"""Random polls, reports, repetitions and restarts before random watchers: what holds whatever happens."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.lookup.engine import Engine
from app.lookup.failures import InvalidReply, ServerError, Unreachable
from app.lookup.lifetimes import Lifetimes
from app.lookup.record import STATES, MessageRecord
from app.lookup.watcher import Watcher
from tests.support.lookup import WHEN, PlatformInMemory
from tests.support.virtual_time import loop, on_virtual_time
from tests.support.watching import watcher_before

ID = 1
LIFETIMES = Lifetimes(pending=2, delivered=6, final=86400, not_found=2)
HISTORIES = st.sampled_from(
    [
        ["send", "partly_deliver", "deliver", "read"],
        ["send", "deliver", "read"],
        ["send", "partly_deliver", "not_deliver"],
        ["send", "expired"],
        ["partly_deliver", "deliver"],
        ["send"],
    ]
)
# Whole seconds bring things close together.
TIMES = st.one_of(st.integers(0, 20).map(float), st.floats(0, 30).map(lambda seconds: round(seconds, 2)))


@dataclass(frozen=True)
class Visit:
    """One watcher: when it comes, how long it stays, and whether it wants detail."""

    at: float
    stays: float
    detail: bool
    asks: bool


@dataclass(frozen=True)
class Report:
    """The platform posts one step of the history, perhaps one that is long past, or not at all true any more."""

    at: float
    step: int
    timeless: bool


@dataclass
class Scene:
    """The platform with its history, and the service before it, which may be replaced by a new one."""

    platform: PlatformInMemory
    history: list[str]
    begun: float
    engine: Engine
    watching: Watcher

    def record(self, step: int, *, timeless: bool = False) -> MessageRecord:
        state = self.history[min(step, len(self.history) - 1)]
        when = None if state == "send" or timeless else WHEN + timedelta(seconds=min(step, len(self.history) - 1))
        return MessageRecord(ID, state, when)

    def restart(self) -> None:
        """A new process: nothing is remembered, and every wait of the old one ends."""
        self.watching.stop()
        self.engine, self.watching = watcher_before(self.platform, lifetimes=LIFETIMES, max_entries=1, max_waiters=100)


def scene_of(history: list[str], script: list[type[Exception] | None]) -> Scene:
    platform = PlatformInMemory(script=list(script))  # type: ignore[arg-type]  # failures without arguments
    engine, watching = watcher_before(platform, lifetimes=LIFETIMES, max_entries=1, max_waiters=100)
    scene = Scene(platform, history, loop().time(), engine, watching)

    def answer(id_: int, detail: bool) -> MessageRecord:
        # Every eight seconds the platform knows the next step.
        record = scene.record(int((loop().time() - scene.begun) / 8))
        if not detail:
            return record
        return MessageRecord(id_, record.state, record.changed_at, 1, "10.6000000", detailed=True)

    platform.answer = answer  # type: ignore[method-assign]  # a platform with a history
    return scene


async def watch(scene: Scene, visit: Visit) -> list[MessageRecord]:
    """What one watcher sees of the message, in order."""
    await asyncio.sleep(visit.at)
    watching = scene.watching
    seen: list[MessageRecord] = []
    ends = loop().time() + visit.stays
    with watching.subscribe([ID], visit.detail) as subscription:
        if visit.asks:
            await watching.look_up([ID], visit.detail)
        while True:
            view = watching.snapshot(ID)
            if isinstance(view.answer, MessageRecord) and (not seen or seen[-1] != view.answer):
                seen.append(view.answer)
            if not await subscription.changes(ends - loop().time()):
                break
            await watching.complete(subscription, [ID])
    assert loop().time() <= ends + 5.1
    return seen


@given(
    history=HISTORIES,
    visits=st.lists(
        st.builds(Visit, at=TIMES, stays=st.floats(0, 40), detail=st.booleans(), asks=st.booleans()),
        min_size=1,
        max_size=6,
    ),
    reports=st.lists(st.builds(Report, at=TIMES, step=st.integers(0, 3), timeless=st.booleans()), max_size=8),
    others=st.lists(TIMES, min_size=1, max_size=4),
    restarts=st.lists(TIMES, max_size=1),
    script=st.lists(st.sampled_from([None, None, ServerError, Unreachable, InvalidReply]), max_size=6),
)
@on_virtual_time
async def test_nobody_sees_a_message_leave_a_final_state_every_wait_ends_and_nothing_leaks(
    history: list[str],
    visits: list[Visit],
    reports: list[Report],
    others: list[float],
    restarts: list[float],
    script: list[type[Exception] | None],
) -> None:
    scene = scene_of(history, script)

    async def report(each: Report) -> None:
        await asyncio.sleep(each.at)
        await scene.engine.report([scene.record(each.step, timeless=each.timeless)] * 2)

    async def other(at: float) -> None:
        # Pushes the message out of the cache, and asks for it anew.
        await asyncio.sleep(at)
        await scene.engine.lookup([2], False)
        await scene.engine.lookup([ID], False, fresh=True)

    async def restart(at: float) -> None:
        await asyncio.sleep(at)
        scene.restart()

    # One of them stays from the beginning to the end.
    visits = [Visit(0, 45, False, True), *visits]
    watching = [asyncio.create_task(watch(scene, visit)) for visit in visits]
    traffic = [*map(report, reports), *map(other, others), *map(restart, restarts)]
    await asyncio.gather(*traffic)
    for seen in await asyncio.gather(*watching):
        final = [index for index, record in enumerate(seen) if record.meaning.final]
        assert {record.state for record in seen} <= {*STATES}
        if final:
            assert {record.state for record in seen[final[0] :]} == {seen[final[0]].state}
    assert (scene.watching.subscriptions.waiters, len(scene.watching.subscriptions)) == (0, 0)
    await asyncio.sleep(10)
    assert loop().pending_timers() == []


@given(
    reports=st.permutations([0, 1, 2, 3, 0, 1, 2, 3]),
    size=st.integers(1, 8),
    polled_first=st.booleans(),
)
@on_virtual_time
async def test_watchers_end_with_the_last_step_in_whatever_order_and_number_the_reports_come(
    reports: list[int], size: int, polled_first: bool
) -> None:
    scene = scene_of(["send", "partly_deliver", "deliver", "read"], [])
    subscription = scene.watching.subscribe([ID], False)
    ranks: list[int] = []
    if polled_first:
        await scene.engine.lookup([ID], False)
    for begin in range(0, len(reports), size):
        await scene.engine.report([scene.record(step) for step in reports[begin : begin + size]])
        answer = scene.watching.snapshot(ID).answer
        assert isinstance(answer, MessageRecord)
        ranks.append(answer.meaning.rank)
        await subscription.changes(0.01)
    assert ranks == sorted(ranks)
    assert scene.watching.snapshot(ID).answer == scene.record(3)
    subscription.close()
