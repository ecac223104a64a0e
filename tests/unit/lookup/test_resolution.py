"""From a batch and the replies to it to answers, as a function: no clock, no network, no event loop."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.failures import (
    CredentialsRejected,
    DeadlinePassed,
    LookupFailure,
    MessageNotFound,
    RequestRejected,
    ServerError,
    UnknownRefusal,
)
from app.lookup.record import Answer, MessageRecord
from app.lookup.resolution import Findings, RequestResult, Resolution

CANARY = 999


def platform(
    *, poison: Collection[int] = (), unknown: Collection[int] = (), first: int | None = None
) -> Callable[[Mapping[int, bool]], RequestResult]:
    """What a platform says of an array that it refuses for one of these ids, or answers only in part."""

    def reply(asked: Mapping[int, bool]) -> RequestResult:
        if not set(poison).isdisjoint(asked):
            return UnknownRefusal("refused")
        return {id_: MessageRecord(id_, "deliver") for id_ in list(asked)[:first] if id_ not in unknown}

    return reply


@dataclass
class Played:
    """Everything that a resolution has asked and found."""

    requests: list[list[int]] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    findings: list[Findings] = field(default_factory=list)

    @property
    def alone(self) -> list[int]:
        return [id_ for each in self.findings for id_ in each.alone]

    @property
    def poison(self) -> list[int]:
        return [id_ for each in self.findings for id_ in each.poison]

    @property
    def all_refused(self) -> bool:
        return any(each.all_refused for each in self.findings)


def play(
    ids: Collection[int],
    reply: Callable[[Mapping[int, bool]], RequestResult],
    *,
    canary: int | None = None,
    batch_size: int = 100,
    detail: bool = False,
) -> Played:
    """Ask until nothing is left to ask."""

    def find_canary(avoid: Collection[int]) -> int | None:
        return None if canary in avoid else canary

    resolution = Resolution(dict.fromkeys(ids, detail), batch_size=batch_size, find_canary=find_canary)
    played = Played()
    while (request := resolution.request) is not None:
        assert len(request.asked) <= batch_size
        assert request.extra is bool(played.requests)
        played.requests.append(list(request.asked))
        findings = resolution.receive(reply(request.asked))
        played.findings.append(findings)
        for id_, answer in findings.answers:
            assert id_ not in played.answers, "an id is answered once"
            played.answers[id_] = answer
    assert sorted([*played.answers, *played.alone]) == sorted(ids), "every id is answered, or asked again alone"
    return played


@given(
    ids=st.lists(st.integers(1, 60), min_size=1, max_size=40, unique=True),
    poison=st.sets(st.integers(1, 60), max_size=4),
    unknown=st.sets(st.integers(1, 60), max_size=8),
    canary=st.sampled_from([None, CANARY]),
)
def test_a_platform_that_dislikes_some_ids_and_does_not_know_others_harms_nobody_else(
    ids: list[int], poison: set[int], unknown: set[int], canary: int | None
) -> None:
    played = play(ids, platform(poison=poison, unknown=unknown), canary=canary)
    assert played.alone == []
    if played.all_refused:
        assert all(isinstance(answer, UnknownRefusal) for answer in played.answers.values())
        return
    for id_, answer in played.answers.items():
        expected = UnknownRefusal if id_ in poison else MessageNotFound if id_ in unknown else MessageRecord
        assert isinstance(answer, expected)
    assert set(played.poison) <= poison


@given(
    ids=st.lists(st.integers(1, 300), min_size=2, max_size=100, unique=True),
    first=st.integers(1, 99),
    canary=st.sampled_from([None, CANARY]),
)
def test_a_platform_that_answers_arrays_in_part_makes_nobody_unknown(
    ids: list[int], first: int, canary: int | None
) -> None:
    played = play(ids, platform(first=first), canary=canary)
    assert not any(isinstance(answer, LookupFailure) for answer in played.answers.values())
    assert played.alone == [] or any(each.arrays_are_cut for each in played.findings)


@given(size=st.integers(2, 100), position=st.integers(0, 99))
def test_one_poison_id_costs_two_requests_a_halving(size: int, position: int) -> None:
    poison = position % size
    played = play(range(size), platform(poison=[poison]))
    assert len(played.requests) <= 1 + 2 * math.ceil(math.log2(size))
    assert [id_ for id_, answer in played.answers.items() if isinstance(answer, LookupFailure)] == [poison]
    assert played.poison == [poison]


@given(size=st.integers(2, 100), refusal=st.sampled_from([UnknownRefusal, RequestRejected]))
def test_where_everything_is_refused_nobody_is_to_blame_and_the_search_ends(
    size: int, refusal: type[LookupFailure]
) -> None:
    played = play(range(size), lambda _: refusal("no"))
    assert len(played.requests) <= 2 * math.log2(size) + 2 + 2
    # Two or three ids are each refused alone before the search ends: then they are poison, as far as anybody can tell.
    assert played.all_refused == (size > 3)
    if played.all_refused:
        assert played.poison == []


def test_a_poison_id_is_named_as_soon_as_another_part_is_accepted() -> None:
    played = play(range(8), platform(poison=[0, 7]))
    named = [each.poison for each in played.findings]
    assert [0] in named
    assert [7] in named
    assert sum(map(len, named)) == 2


def test_missing_ids_are_asked_again_with_the_id_that_was_just_answered_at_the_end() -> None:
    played = play([1, 2, 3], platform(unknown=[2, 3]), canary=CANARY)
    assert played.requests == [[1, 2, 3], [2, 3, 1]]


def test_a_canary_from_before_serves_where_the_reply_answers_nobody() -> None:
    played = play([1, 2], platform(unknown=[1, 2]), canary=CANARY)
    assert played.requests == [[1, 2], [1, 2, CANARY]]


def test_without_a_canary_the_last_of_the_missing_stands_for_all() -> None:
    played = play([1, 2, 3], platform(unknown=[1, 2, 3]))
    assert played.requests == [[1, 2, 3], [3]]


def test_a_full_batch_of_missing_ids_leaves_a_place_for_the_canary() -> None:
    played = play(range(4), platform(unknown=range(4)), canary=CANARY, batch_size=4)
    assert played.requests == [[0, 1, 2, 3], [0, 1, 2, CANARY], [3, CANARY]]


def test_the_canary_is_asked_without_detail_and_the_ids_with_it() -> None:
    resolution = Resolution({1: True, 2: True}, batch_size=100, find_canary=lambda _: CANARY)
    resolution.receive({})
    assert resolution.request is not None
    assert resolution.request.asked == {1: True, 2: True, CANARY: False}


@pytest.mark.parametrize("failure", [ServerError, CredentialsRejected])
def test_a_failure_that_is_no_refusal_of_the_array_is_everybodys_answer(failure: type[LookupFailure]) -> None:
    played = play(range(100), lambda _: failure("no"))
    assert len(played.requests) == 1
    assert {type(answer) for answer in played.answers.values()} == {failure}


def test_once_nothing_may_be_sent_whoever_was_not_asked_gets_the_reason() -> None:
    resolution = Resolution(dict.fromkeys(range(8), False), batch_size=100, find_canary=lambda _: None)
    resolution.receive(UnknownRefusal("refused"))
    shut = CredentialsRejected("locked out")
    findings = resolution.receive(ServerError("broken"), shut)
    assert resolution.request is None
    by_kind = {
        type(answer): [id_ for id_, each in findings.answers if each is answer] for _, answer in findings.answers
    }
    assert {kind: len(ids) for kind, ids in by_kind.items()} == {ServerError: 4, CredentialsRejected: 4}


def test_after_the_deadline_nothing_is_asked_any_more_and_nobody_is_blamed() -> None:
    resolution = Resolution(dict.fromkeys(range(8), False), batch_size=100, find_canary=lambda _: None)
    resolution.receive(UnknownRefusal("refused"))
    findings = resolution.receive(DeadlinePassed("the deadline is over"))
    assert resolution.request is None
    assert {type(answer) for _, answer in findings.answers} == {DeadlinePassed}
    assert (findings.poison, findings.all_refused) == ([], False)


def test_an_id_refused_where_it_was_asked_alone_is_named_as_that() -> None:
    played = play([5], platform(poison=[5]))
    assert [each.refused for each in played.findings] == [5]
    assert played.poison == []
