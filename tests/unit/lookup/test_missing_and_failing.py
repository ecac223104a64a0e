"""Where the second question about missing ids fails: the failure is theirs whom it was about, nobody is forgotten."""

from app.lookup.failures import ServerError
from tests.support.lookup import PlatformInMemory, ask, assert_nothing_left, engine_before, kinds, warmed
from tests.support.virtual_time import on_virtual_time


@on_virtual_time
async def test_where_there_is_no_canary_and_the_one_asked_alone_fails_all_the_missing_get_its_failure() -> None:
    platform = PlatformInMemory(unknown=range(10), script=[None, ServerError])
    engine = engine_before(platform)
    assert [kinds([answer]) for answer in await ask(engine, range(4))] == [{"ServerError"}] * 4
    assert [request.ids for request in platform.requests] == [[0, 1, 2, 3], [3]]
    await assert_nothing_left(engine)


@on_virtual_time
async def test_a_failure_about_some_of_the_missing_leaves_the_others_their_question() -> None:
    platform = PlatformInMemory(unknown=range(10), script=[None, ServerError])
    engine = await warmed(platform, batch_size=3)
    answers = [kinds([answer]) for answer in await ask(engine, [1, 2, 3])]
    # With the canary at the end only two of them fit into one request.
    assert answers == [{"ServerError"}, {"ServerError"}, {"MessageNotFound"}]
    assert [request.ids[:-1] for request in platform.requests[1:]] == [[1, 2], [3]]
    await assert_nothing_left(engine)


@on_virtual_time
async def test_when_the_second_question_shows_that_arrays_are_cut_those_of_the_third_are_asked_alone_as_well() -> None:
    platform = PlatformInMemory()
    engine = await warmed(platform, batch_size=3)

    def latency() -> float:
        # The first array is not looked at at all, and of each later one only the first entry.
        platform.answers_first = min(len(platform.requests) - 1, 1)
        return 0.03

    platform.latency = latency
    assert [kinds([answer]) for answer in await ask(engine, [1, 2, 3])] == [{"deliver"}] * 3
    assert [request.ids for request in platform.requests if len(request.ids) == 1] == [[2], [3]]
    await assert_nothing_left(engine)
