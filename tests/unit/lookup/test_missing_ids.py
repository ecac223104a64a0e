"""Missing is not unknown: ids that a reply leaves out."""

import asyncio
import itertools

import pytest

from app.lookup.failures import LookupFailure, MessageNotFound, ServerError
from app.lookup.record import MessageRecord
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import on_virtual_time


@on_virtual_time
async def test_missing_ids_are_asked_again_with_a_known_one_at_the_end() -> None:
    platform = PlatformInMemory(unknown={2, 4})
    engine = engine_before(platform)
    answers = await ask(engine, [1, 2, 3, 4])
    assert [kinds([answer]).pop() for answer in answers] == ["deliver", "MessageNotFound", "deliver", "MessageNotFound"]
    assert [request.ids for request in platform.requests] == [[1, 2, 3, 4], [2, 4, 1]]
    assert not platform.requests[1].entries[1], "the control needs no detail"
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_recently_answered_id_is_the_control_where_the_reply_answers_nobody() -> None:
    platform = PlatformInMemory(unknown={2, 4})
    engine = engine_before(platform)
    await ask(engine, 1)
    assert kinds(await ask(engine, [2, 4])) == {"MessageNotFound"}
    assert [request.ids for request in platform.requests] == [[1], [2, 4], [2, 4, 1]]


@on_virtual_time
async def test_an_id_answered_long_ago_is_no_control() -> None:
    platform = PlatformInMemory(unknown={2, 4})
    engine = engine_before(platform)
    await ask(engine, 1)
    await asyncio.sleep(601)
    assert kinds(await ask(engine, [2, 4])) == {"MessageNotFound"}
    assert [request.ids for request in platform.requests] == [[1], [2, 4], [4]]


@on_virtual_time
async def test_an_id_that_another_account_was_asked_for_is_no_control() -> None:
    platform = PlatformInMemory(unknown={2, 4})
    engine = engine_before(platform)
    await ask(engine, 1)
    engine.credentials_changed()
    assert kinds(await ask(engine, [2, 4])) == {"MessageNotFound"}
    assert [request.ids for request in platform.requests] == [[1], [2, 4], [4]]


@on_virtual_time
async def test_an_id_refused_alone_is_no_control() -> None:
    platform = PlatformInMemory(unknown={2, 4}, state="send")
    engine = engine_before(platform)
    await ask(engine, 1)
    platform.poisons(1)
    assert kinds(await ask(engine, 1, fresh=True)) == {"UnknownRefusal"}
    assert kinds(await ask(engine, [2, 4])) == {"MessageNotFound"}


@on_virtual_time
async def test_a_poison_id_is_no_canary() -> None:
    platform = PlatformInMemory(unknown={2}, state="send")
    engine = engine_before(platform)
    await ask(engine, 1)
    platform.poisons(1)
    assert kinds(await ask(engine, [1, 3], fresh=True)) == {"UnknownRefusal", "send"}
    platform.unknown = {2, 3}
    assert kinds(await ask(engine, [2, 3], fresh=True)) == {"MessageNotFound"}


@on_virtual_time
async def test_with_no_control_to_be_had_one_is_asked_alone_and_stands_for_the_rest() -> None:
    platform = PlatformInMemory(unknown=range(100))
    assert kinds(await ask(engine_before(platform), range(100))) == {"MessageNotFound"}
    assert [len(request.ids) for request in platform.requests] == [100, 1]


@on_virtual_time
async def test_one_that_is_known_after_all_becomes_the_control() -> None:
    platform = PlatformInMemory(unknown=range(100), answers_first=10)
    platform.unknown = range(50)
    engine = engine_before(platform)
    answers = await ask(engine, range(100))
    assert kinds(answers[:50]) == {"MessageNotFound"}
    assert kinds(answers[50:]) == {"deliver"}


@on_virtual_time
async def test_an_id_asked_alone_and_left_out_is_unknown_at_once() -> None:
    platform = PlatformInMemory(unknown={1})
    assert kinds(await ask(engine_before(platform), 1)) == {"MessageNotFound"}
    assert len(platform.requests) == 1


@on_virtual_time
async def test_an_entry_that_says_not_found_needs_no_second_question() -> None:
    platform = PlatformInMemory(odd_entries={2: MessageNotFound})
    assert kinds(await ask(engine_before(platform), [1, 2, 3])) == {"deliver", "MessageNotFound"}
    assert len(platform.requests) == 1


@pytest.mark.parametrize("known_before", [False, True])
@on_virtual_time
async def test_three_hundred_unknown_ids_cost_at_most_three_requests_a_batch(known_before: bool) -> None:
    platform = PlatformInMemory(unknown=range(300))
    engine = await warmed(platform) if known_before else engine_before(platform)
    assert kinds(await ask(engine, range(300))) == {"MessageNotFound"}
    assert len(platform.requests) <= 9
    assert max(len(request.ids) for request in platform.requests) <= 100
    await assert_nothing_left(engine)


@pytest.mark.parametrize("whole", [1, 10])
@pytest.mark.parametrize("unknown", [(), (0,), (99,), tuple(range(0, 99, 7)), tuple(range(60))])
@on_virtual_time
async def test_a_platform_that_answers_only_part_of_an_array_makes_nobody_unknown(
    whole: int, unknown: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    platform = PlatformInMemory(answers_first=whole, unknown=set(unknown), latency=0.01)
    engine = await warmed(platform)
    found = await engine.lookup(range(100), True)
    assert {id_ for id_, each in found.items() if kinds([each.answer]) == {"MessageNotFound"}} == set(unknown)
    assert kinds(each.answer for each in found.values()) <= {"deliver", "MessageNotFound"}
    assert len([record for record in caplog.records if "arrays whole" in record.message]) == 1
    # One for the batch, one or two to find out, then each alone.
    assert len(platform.requests) <= 103
    await assert_nothing_left(engine)


@on_virtual_time
async def test_batching_is_off_for_ten_minutes_after_a_control_went_missing(caplog: pytest.LogCaptureFixture) -> None:
    platform = PlatformInMemory(answers_first=1, state="send")
    engine = engine_before(platform)
    assert kinds(await ask(engine, range(20))) == {"send"}
    for seconds, largest in ((3, 1), (595, 1), (3, 20)):
        await asyncio.sleep(seconds)
        platform.requests.clear()
        assert kinds(await ask(engine, range(20))) == {"send"}
        assert max(len(request.ids) for request in platform.requests) == largest
    assert len([record for record in caplog.records if "arrays whole" in record.message]) == 2


@on_virtual_time
async def test_batches_that_find_it_out_at_the_same_time_log_it_once(caplog: pytest.LogCaptureFixture) -> None:
    platform = PlatformInMemory(answers_first=1)
    engine = await warmed(platform, batch_size=10)
    assert kinds(await ask(engine, range(40))) == {"deliver"}
    assert len([record for record in caplog.records if "arrays whole" in record.message]) == 1


@on_virtual_time
async def test_an_id_that_becomes_known_between_two_requests_is_answered() -> None:
    platform = PlatformInMemory(unknown={2, 4})
    engine = engine_before(platform)
    lookup = asyncio.create_task(ask(engine, [1, 2, 3, 4]))
    await asyncio.sleep(0.04)
    platform.unknown = {4}
    answers = await lookup
    assert [kinds([answer]).pop() for answer in answers] == ["deliver", "deliver", "deliver", "MessageNotFound"]
    assert len(platform.requests) == 2


@on_virtual_time
async def test_when_the_second_question_fails_nobody_is_called_unknown() -> None:
    platform = PlatformInMemory(unknown={2, 4}, script=[None, ServerError])
    engine = engine_before(platform)
    answers = await ask(engine, [1, 2, 3, 4])
    assert kinds(answers) == {"deliver", "ServerError"}
    assert len(platform.requests) == 2, "asking again is outside the retry"


@on_virtual_time
async def test_missing_ids_of_an_accepted_part_are_asked_again_as_well() -> None:
    platform = PlatformInMemory(unknown={2, 60})
    platform.poisons(50)
    engine = engine_before(platform)
    found = await engine.lookup(range(100), False)
    assert {id_ for id_, each in found.items() if isinstance(each.answer, MessageNotFound)} == {2, 60}
    assert {id_ for id_, each in found.items() if isinstance(each.answer, LookupFailure)} == {2, 50, 60}


@on_virtual_time
async def test_an_id_handed_back_twice_is_asked_alone_once_with_the_detail_asked_for() -> None:
    platform = PlatformInMemory(answers_first=1)
    engine = await warmed(platform, max_in_flight=2)
    plain = asyncio.create_task(ask(engine, range(10)))
    await asyncio.sleep(0.01)
    # The plain flight hands its ids back first; 9 still waits for its turn when the second one hands it back too.
    detailed = await ask(engine, [20, 8, 9], detail=True)
    assert {answer.parts for answer in detailed if isinstance(answer, MessageRecord)} == {1}
    assert kinds(await plain) == {"deliver"}
    alone = [request.entries for request in platform.requests if len(request.entries) == 1]
    assert alone.count({9: True}) == 1
    assert {9: False} not in alone
    await assert_nothing_left(engine)


@on_virtual_time
async def test_ids_handed_back_that_nobody_waits_for_any_more_are_dropped() -> None:
    platform = PlatformInMemory(answers_first=1)
    latencies = itertools.chain([0.1, 0.1], itertools.repeat(1.0))
    engine = await warmed(platform, max_in_flight=1)
    platform.latency = lambda: next(latencies)
    caller = asyncio.create_task(ask(engine, range(10)))
    await asyncio.sleep(0.25)
    caller.cancel()
    await assert_nothing_left(engine)
    assert len(platform.requests) == 3
