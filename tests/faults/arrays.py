"""Faults of arrays: one id spoils a request, or a reply speaks of only some of the ids."""

from tests.faults.fault import NOT_FOUND, REJECTED, REJECTED_REQUEST, STATE, Fault, Step, at_most
from tests.support import misbehaviour as does

HUNDRED = range(1, 101)
UNKNOWN = "Сообщение с таким ID не принималось"
FORMAT = "Incorrect JSON document format"
SIX = range(1, 7)
ELEVEN = range(5, 101, 9)

POISON = [
    Fault(
        "refuses arrays that hold a certain id",
        does.poisoned(50),
        [Step(HUNDRED, {STATE: 99, REJECTED_REQUEST: 1}, "in one batch")],
        requests=at_most(15),
    ),
    Fault(
        "refuses arrays that hold a certain id, and callers poll it every second",
        does.poisoned(50),
        [
            Step(HUNDRED, {STATE: 99, REJECTED_REQUEST: 1}, "in one batch"),
            *(
                Step([50, *range(start, start + 9)], {STATE: 9, REJECTED_REQUEST: 1}, "in one batch", later=1)
                for start in range(101, 191, 9)
            ),
        ],
        requests=at_most(15 + 10 * 2),
    ),
    Fault(
        "refuses arrays that hold one of six ids at the front",
        does.poisoned(*SIX),
        [Step(HUNDRED, {STATE: 94, REJECTED_REQUEST: 6}, "in one batch")],
        requests=at_most(19),
    ),
    Fault(
        "refuses arrays that hold one of eleven ids, spread evenly",
        does.poisoned(*ELEVEN),
        [Step(HUNDRED, {STATE: 89, REJECTED_REQUEST: 11}, "in one batch")],
        requests=at_most(92),
    ),
    *(
        Fault(
            f"answers arrays that hold a certain id with {how}, 12 times",
            does.empties(50, body=body),
            [
                Step(HUNDRED, {STATE: 99, REJECTED: 1}, "in one batch"),
                *(
                    Step([50, *range(start, start + 99)], {STATE: 99, REJECTED: 1}, "in one batch")
                    for start in range(101, 101 + 11 * 99, 99)
                ),
                Step([9999], {STATE: 1}),
            ],
            requests=at_most(16 + 11 * 2 + 1),
        )
        for how, body in {"an empty body": b"", "a blank body": b" \r\n", "`null`": b"null"}.items()
    ),
    Fault(
        "answers arrays that hold a certain id with an empty body",
        does.empties(50),
        [Step(HUNDRED, {STATE: 99, REJECTED: 1}, "in one batch")],
        requests=at_most(16),
    ),
    Fault(
        "refuses arrays that hold an unknown id, and says so",
        does.poisoned(50, text=UNKNOWN),
        [Step(HUNDRED, {STATE: 99, NOT_FOUND: 1}, "in one batch")],
        requests=at_most(15),
    ),
    Fault(
        "answers everything with an empty body",
        does.replies(b""),
        [Step(HUNDRED, {REJECTED: 100}, "in one batch")],
        requests=at_most(17),
    ),
    Fault(
        "refuses everything",
        does.refuses(FORMAT),
        [Step(HUNDRED, {REJECTED_REQUEST: 100}, "in one batch")],
        requests=at_most(17),
    ),
]

MISSING = [
    Fault(
        "says in place of the state that an id is unknown",
        does.says(UNKNOWN, 41, 42),
        [Step(HUNDRED, {STATE: 98, NOT_FOUND: 2}, "in one batch"), Step([41, 1], {STATE: 1, NOT_FOUND: 1})],
        requests=1,
    ),
    Fault(
        "says something else in place of a state",
        does.says("Абонент заблокирован", 41),
        [
            Step(HUNDRED, {STATE: 99, REJECTED: 1}, "in one batch"),
            Step([41], {REJECTED: 1}),
            Step([41], {REJECTED: 1}, later=2.1),
            Step([200], {STATE: 1}),
        ],
        requests=3,
    ),
    Fault(
        "leaves unknown ids out, and all 300 are unknown",
        does.knows_all_but(range(1, 301)),
        [Step(range(1, 301), {NOT_FOUND: 300}, "in one batch")],
        requests=at_most(6),
    ),
    Fault(
        "leaves unknown ids out, and 30 of 100 are unknown",
        does.knows_all_but(range(41, 71)),
        [Step(HUNDRED, {STATE: 70, NOT_FOUND: 30}, "in one batch")],
        requests=2,
    ),
    Fault(
        "answers only the first entry of an array",
        does.knows_all_but((), first=1),
        [Step(range(1, 21), {STATE: 20}, "in one batch"), Step(range(21, 31), {STATE: 10}, "in one batch")],
        requests=at_most(1 + 19 + 10),
    ),
    Fault(
        "answers only the first entry of an array, and some ids are unknown",
        does.knows_all_but((1, 2, 7), first=1),
        [Step(range(1, 21), {STATE: 17, NOT_FOUND: 3}, "in one batch")],
        requests=at_most(3 + 19),
    ),
    Fault(
        "answers only the first 10 entries of an array, and some ids are unknown",
        does.knows_all_but((3, 12, 40), first=10),
        [Step(range(1, 41), {STATE: 37, NOT_FOUND: 3}, "in one batch")],
        requests=at_most(25),
    ),
    Fault(
        "leaves an id out of one reply, and knows it in the next",
        does.after(1, does.knows_all_but([2]), does.knows_all_but(())),
        [Step([1, 2, 3], {STATE: 3}, "in one batch")],
        requests=2,
    ),
]
