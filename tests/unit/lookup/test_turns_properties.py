"""Random callers, batches, departures, refusals and slots: what turns promise whatever happens."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from hypothesis import event, given
from hypothesis import strategies as st

from app.lookup.caller import POLLS, Caller
from app.lookup.engine import Engine
from app.lookup.failures import CircuitOpen, Overloaded, UnknownRefusal
from app.lookup.lifetimes import Update
from app.lookup.queue import Batch, Queue
from app.lookup.record import MessageRecord
from app.lookup.waiter import Entry, Source, Waiter
from tests.support.lookup import PlatformInMemory, assert_nothing_left, kinds, warmed
from tests.support.virtual_time import loop, on_virtual_time

CALLERS = [Caller(f"caller {number}", "address") for number in range(12)]
LATENCY = 0.1


# --- the queue by itself ---


@dataclass
class Question:
    """One waiter, and how often each of its ids was answered."""

    caller: Caller
    ids: list[int]
    answers: Counter[int] = field(default_factory=Counter)
    waiter: Waiter | None = None

    def take(self, id_: int, _answer: Update, _source: Source) -> None:
        self.answers[id_] += 1


@dataclass(frozen=True)
class Ask:
    caller: int
    ids: list[int]
    detail: bool


@dataclass(frozen=True)
class Do:
    """``what`` to the question or batch number ``which``, or with a limit of it."""

    what: str
    which: int


IDS = st.integers(1, 40)
STEPS = st.lists(
    st.one_of(
        st.builds(Ask, st.integers(0, 5), st.lists(IDS, min_size=1, max_size=15, unique=True), st.booleans()),
        st.builds(Do, st.sampled_from(["leave", "take", "take", "answer", "put back", "blame"]), st.integers(1, 12)),
        st.builds(Do, st.sampled_from(["poll", "unwatch", "refuse", "minute"]), st.integers(1, 40)),
    ),
    max_size=60,
)


@given(steps=STEPS, max_queued=st.sampled_from([5, 20, 1000]), poison=st.sets(IDS, max_size=5))
@on_virtual_time
async def test_every_question_has_one_answer_for_each_id_whatever_the_queue_goes_through(
    steps: list[Ask | Do], max_queued: int, poison: set[int]
) -> None:
    watched = set(range(1, 41))
    queue = Queue(
        loop().time,
        deadline=1e6,
        max_queued=max_queued,
        watching=lambda id_: CALLERS[:1] if id_ in watched else (),
    )
    questions: list[Question] = []
    left: list[Question] = []
    batches: list[Batch] = []

    def ask(caller: Caller, ids: list[int], detail: bool) -> None:
        question = Question(caller, ids)
        question.waiter = queue.add(ids, detail, question.take, caller=caller)
        questions.append(question)

    for step in steps:
        if isinstance(step, Ask):
            ask(CALLERS[step.caller], step.ids, step.detail)
        elif step.what == "poll":
            ask(POLLS, [step.which, step.which + 1], detail=False)
        elif step.what == "unwatch":
            watched.discard(step.which)
        elif step.what == "leave" and step.which < len(questions):
            question = questions[step.which]
            assert question.waiter is not None
            if question.caller is not POLLS and question.waiter.done.cancel():
                left.append(questions.pop(step.which))
        elif step.what == "take":
            take(queue, step.which, poison, batches)
        elif step.what in ("answer", "put back") and batches:
            end(queue, batches.pop(step.which % len(batches)), put_back=step.what == "put back")
        elif step.what == "blame" and batches:
            entries = batches[step.which % len(batches)].entries
            for _ in range(3):
                queue.blame(entries, set())
        elif step.what == "refuse":
            queue.refuse(CircuitOpen())
        elif step.what == "minute":
            await asyncio.sleep(60)
        assert len(queue) <= max_queued or "put back" in {each.what for each in steps if isinstance(each, Do)}
    for _ in range(1000):
        if not (queue.may_be_sent or batches):
            break
        take(queue, 10, poison, batches)
        if batches:
            end(queue, batches.pop(0), put_back=False)
    assert (len(queue), queue.waiting_polls, queue.in_flight) == (0, 0, 0)
    assert not queue.waiting()
    for question in questions:
        assert question.waiter is not None
        assert question.waiter.done.done()
        answered = {*question.answers}
        # A poll has no answer for what nobody watches any more.
        assert answered == {*question.ids} or (question.caller is POLLS and answered >= {*question.ids} & watched)
        assert set(question.answers.values()) <= {1}
    queue.close(Overloaded())


def take(queue: Queue, limit: int, poison: set[int], batches: list[Batch]) -> None:
    """Take a batch, and see that nothing travels together that must not."""
    isolated_in_flight = any(batch.isolated for batch in batches)
    batch = queue.next_batch(limit, poison)
    if batch is None:
        return
    event("isolated" if batch.isolated else "together" if len(batch.entries) > 1 else "one")
    batches.append(batch)
    assert 1 <= len(batch.entries) <= limit
    assert len(batch.entries) == 1 or not poison & {entry.id for entry in batch.entries}
    assert not (batch.isolated and isolated_in_flight)
    isolated = queue.isolation.callers
    for entry in batch.entries:
        asking = [identity for identity in entry.askers if identity != POLLS.identity]
        if asking and not batch.isolated:
            assert not all(identity in isolated for identity in asking)
        if asking and batch.isolated:
            assert any(identity in isolated for identity in asking)


def end(queue: Queue, batch: Batch, *, put_back: bool) -> None:
    """Answer a batch, or let it wait again."""
    if put_back:
        queue.put_back(batch.entries)
    else:
        for entry in batch.entries:
            queue.answer(entry, UnknownRefusal())
    if batch.isolated:
        queue.end_isolated()


@given(
    lines=st.lists(st.integers(1, 60), min_size=1, max_size=12),
    polls=st.integers(0, 60),
    limit=st.integers(1, 20),
    gone=st.sets(st.integers(0, 11)),
)
@on_virtual_time
async def test_requests_are_as_full_as_those_of_a_plain_queue_and_nobody_is_a_turn_ahead_of_another(
    lines: list[int], polls: int, limit: int, gone: set[int]
) -> None:
    queue = Queue(loop().time, deadline=5, max_queued=10_000, watching=lambda _id: CALLERS[:1])
    numbers = count(1)
    left: dict[str, int] = {}
    for number, (length, caller) in enumerate(zip(lines, CALLERS, strict=False)):
        waiter = queue.add([next(numbers) for _ in range(length)], False, lambda *_: None, caller=caller)
        if number in gone:
            waiter.done.cancel()
        else:
            left[caller.identity] = length
    polled = queue.add([next(numbers) for _ in range(polls)], False, lambda *_: None, caller=POLLS) if polls else None
    waiting = sum(left.values()) + polls
    requests = 0
    while (batch := queue.next_batch(limit, ())) is not None:
        requests += 1
        taken = Counter(next(iter(entry.askers)) for entry in batch.entries)
        assert len(batch.entries) == min(limit, waiting)
        waiting -= len(batch.entries)
        of_polls = taken.pop(POLLS.identity, 0)
        if limit >= 4:
            assert of_polls >= min(polls, math.ceil(limit / 4))
        polls -= of_polls
        for identity, ids in taken.items():
            left[identity] -= ids
        for ids in taken.values():
            # Who has ids left has had as many turns as anybody else, or one fewer.
            assert all(taken[other] >= ids - 1 for other, rest in left.items() if rest)
        for entry in batch.entries:
            queue.answer(entry, UnknownRefusal())
    assert waiting == polls == 0
    assert polled is None or polled.done.done()
    queue.close(Overloaded())


@given(
    callers=st.integers(2, 12),
    mine=st.integers(1, 30),
    ahead=st.integers(0, 200),
)
@on_virtual_time
async def test_what_a_request_costs_does_not_depend_on_how_many_wait(callers: int, mine: int, ahead: int) -> None:
    queue = Queue(loop().time, deadline=5, max_queued=100_000)
    for number, caller in enumerate(CALLERS[:callers]):
        first = 1000 * number
        queue.add(range(first, first + mine + ahead), False, lambda *_: None, caller=caller)
    looked_at: list[Entry] = []
    is_asked_by = queue._turns._is_wanted

    def counting(entry: Entry, caller: Caller) -> bool:
        looked_at.append(entry)
        return is_asked_by(entry, caller)

    queue._turns._is_wanted = counting  # the test counts the steps
    batch = queue.next_batch(10, ())
    assert batch is not None
    assert looked_at == batch.entries
    queue.close(Overloaded())


# --- the engine ---


def uses(numbers: Iterator[int], how_many: int) -> list[int]:
    return [next(numbers) for _ in range(how_many)]


@dataclass(frozen=True)
class Visit:
    """A caller's questions, one after the other: how many ids each has, and the seconds before each."""

    sizes: list[int]
    pauses: list[float]
    leaves: bool


VISITS = st.lists(
    st.builds(
        Visit,
        sizes=st.lists(st.sampled_from([1, 1, 1, 2, 30]), min_size=1, max_size=6),
        pauses=st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.13]), min_size=6, max_size=6),
        leaves=st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(
    visits=VISITS,
    slots=st.integers(1, 4),
    spare=st.integers(0, 6),
    polls=st.integers(0, 60),
    unknown=st.booleans(),
)
@on_virtual_time
async def test_one_id_waits_for_at_most_one_request_beyond_those_in_flight(
    visits: list[Visit], slots: int, spare: int, polls: int, unknown: bool
) -> None:
    numbers = count(1)
    batch_size = max(4, math.ceil(len(visits) * 4 / 3) + spare)
    platform = PlatformInMemory(latency=LATENCY, state="send")
    engine = await warmed(
        platform,
        max_in_flight=slots,
        batch_size=batch_size,
        # The bound is about waiting, and not about the time that there is.
        deadline=1000.0,
        watching=lambda _id: CALLERS[:1],
    )
    if unknown:
        # Replies that leave ids out make more requests, without a split.
        platform.unknown = range(7, 10_000, 7)
    polling = asyncio.create_task(engine.lookup(uses(numbers, polls), False, caller=POLLS, fresh=True))

    async def come(visit: Visit, caller: Caller) -> None:
        for size, pause in zip(visit.sizes, visit.pauses, strict=False):
            await asyncio.sleep(pause)
            ids = uses(numbers, size)
            if size == 1:
                await one(engine, platform, ids[0], caller)
                continue
            try:
                async with asyncio.timeout(0.15 if visit.leaves else None):
                    await engine.lookup(ids, False, caller=caller)
            except TimeoutError:
                event("leaves")

    await asyncio.gather(polling, *(come(*each) for each in zip(visits, CALLERS, strict=False)))
    await asyncio.sleep(1000)
    await assert_nothing_left(engine)


async def one(engine: Engine, platform: PlatformInMemory, id_: int, caller: Caller) -> None:
    """Look up one id: of the requests that leave from now on it is in the first or the second."""
    sent_before = len(platform.requests)
    found = await engine.lookup([id_], False, caller=caller)
    assert kinds([found[id_].answer]) <= {"send", "MessageNotFound"}
    own = next(number for number, each in enumerate(platform.requests[sent_before:]) if id_ in each.entries)
    event(f"waits for {own}")
    assert own <= 1


@given(visits=VISITS, slots=st.integers(1, 4), batch_size=st.integers(1, 8))
@on_virtual_time
async def test_nobody_starves_however_many_wait(visits: list[Visit], slots: int, batch_size: int) -> None:
    platform = PlatformInMemory(latency=LATENCY, state="send")
    engine = await warmed(
        platform, max_in_flight=slots, batch_size=batch_size, deadline=1000.0, watching=lambda _id: CALLERS[:1]
    )
    numbers = count(1)
    loud = Caller("loud", "loud")
    # Enough for every request until the others have their answers, by the bound below.
    ids = 20 * batch_size
    tasks = [asyncio.create_task(engine.lookup(uses(numbers, ids), False, caller=loud)) for _ in range(3)]
    polled = asyncio.create_task(engine.lookup(uses(numbers, 40), False, caller=POLLS, fresh=True))
    await asyncio.sleep(0.01)
    # One id of each of the callers, the loud one, and at worst the polls before each other turn.
    rounds = math.ceil((len(visits) + 1) / max(1, batch_size * 3 // 4)) + 2

    async def come(caller: Caller) -> None:
        begun = loop().time()
        found = await engine.lookup([next(numbers)], False, caller=caller)
        assert all(isinstance(each.answer, MessageRecord) for each in found.values())
        assert loop().time() - begun <= (2 * rounds / slots + 2) * LATENCY

    await asyncio.gather(*(come(caller) for _, caller in zip(visits, CALLERS, strict=False)))
    await polled
    assert kinds(each.answer for each in polled.result().values()) == {"send"}
    await asyncio.gather(*tasks)
    await asyncio.sleep(1000)
    await assert_nothing_left(engine)
