"""``MAX_WAITERS`` counts messages, and no caller has all of them (section 5 of the contract)."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lookup.caller import Caller
from app.lookup.failures import Overloaded
from app.lookup.subscriptions import Subscription, Subscriptions

SHOP, CRM = Caller("shop", "shop"), Caller("crm", "crm")


def fits(subscriptions: Subscriptions, caller: Caller, messages: int) -> bool:
    """Begin to wait for so many messages; whether that was possible."""
    try:
        subscriptions.subscribe(range(messages), False, caller)
    except Overloaded:
        return False
    return True


@pytest.mark.parametrize(
    ("max_waiters", "begun", "more", "possible"),
    [
        # All callers together.
        (100, [(SHOP, 40)], (CRM, 60), True),
        (100, [(SHOP, 40)], (CRM, 61), False),
        (100, [(SHOP, 1)], (CRM, 100), False),
        (4, [(SHOP, 1), (SHOP, 2)], (CRM, 1), True),
        (4, [(SHOP, 1), (SHOP, 2), (CRM, 1)], (CRM, 1), False),
        # One caller: three quarters.
        (100, [(SHOP, 50)], (SHOP, 25), True),
        (100, [(SHOP, 50)], (SHOP, 26), False),
        (4, [(SHOP, 1), (SHOP, 2)], (SHOP, 1), False),
        (5, [(SHOP, 3)], (SHOP, 1), False),
        # But one stream at least, whatever its share is, and nothing beside it.
        (100, [], (SHOP, 100), True),
        (100, [(SHOP, 100)], (SHOP, 1), False),
        (100, [(SHOP, 100)], (CRM, 1), False),
        (120, [(CRM, 20)], (SHOP, 100), True),
        (1, [], (SHOP, 1), True),
        (1, [], (SHOP, 100), True),
        (1, [(SHOP, 1)], (SHOP, 1), False),
        (2, [(SHOP, 1)], (SHOP, 1), False),
    ],
)
async def test_one_more_is_let_in_or_refused(
    max_waiters: int, begun: list[tuple[Caller, int]], more: tuple[Caller, int], possible: bool
) -> None:
    subscriptions = Subscriptions(asyncio.get_running_loop().time, max_waiters=max_waiters)
    assert all(fits(subscriptions, *each) for each in begun)
    assert fits(subscriptions, *more) is possible
    assert subscriptions.refused.total() == (0 if possible else more[1])


CALLERS = [
    Caller(name, "address" if name[0] in "12" else name) for name in ("shop", "crm", "10.0.0.1", "2001:db8::/64")
]
STEPS = st.lists(st.tuples(st.sampled_from(CALLERS), st.integers(1, 100), st.booleans()), max_size=60)


@given(st.integers(1, 400), STEPS)
def test_whoever_comes_and_goes_all_have_room_for_as_much_as_was_said(
    max_waiters: int, steps: list[tuple[Caller, int, bool]]
) -> None:
    """And what is counted is what is there."""
    subscriptions = Subscriptions(lambda: 0.0, max_waiters=max_waiters)
    there: list[Subscription] = []
    refused: Counter[str] = Counter()
    for caller, messages, leaves in steps:
        if leaves and there:
            there.pop(0).close()
            continue
        before = sum(len(each.ids) for each in there)
        mine = sum(len(each.ids) for each in there if each.caller == caller)
        try:
            there.append(subscriptions.subscribe(range(messages), False, caller))
        except Overloaded:
            refused[caller.label] += messages
            assert before + messages > max_waiters or mine + messages > max_waiters * 3 // 4
            # Who has nothing yet is refused for lack of room alone.
            assert mine or before + messages > max_waiters
        else:
            assert not before or before + messages <= max_waiters
            assert not mine or mine + messages <= max_waiters * 3 // 4
        now = Counter[str]()
        for each in there:
            now[each.caller.label] += len(each.ids)
        assert +subscriptions.held == now
        assert subscriptions.messages == now.total()
    told: Counter[str] = Counter()
    for (label, _), number in subscriptions.refused.items():
        told[label] += number
    assert told == refused
    for each in there:
        each.close()
        each.close()
    assert (subscriptions.messages, +subscriptions.held, subscriptions._by_caller) == (0, Counter(), Counter())


async def test_a_message_that_is_named_twice_counts_once() -> None:
    subscriptions = Subscriptions(asyncio.get_running_loop().time, max_waiters=10)
    subscriptions.subscribe([1, 1, 2], False, SHOP)
    assert subscriptions.messages == 2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio
