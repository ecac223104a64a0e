"""Faults of the account and of the load: the platform refuses, throttles or is overrun."""

from tests.faults.fault import (
    ACCOUNT_LOCKED,
    CREDENTIALS_REJECTED,
    ERROR,
    OVERLOADED,
    REJECTED,
    STATE,
    THROTTLED,
    UNAVAILABLE,
    Count,
    Fault,
    Step,
    at_most,
    exactly,
    one,
)
from tests.support import misbehaviour as does

WRONG = "Incorrect login or password"
LOCKED = "Your account is locked"
REJECTIONS = [
    WRONG,
    "Неправильный логин или пароль",
    "Неверный логин или пароль",
    "Неправильный логин или",
]
QUICK = 0.05
"""Seconds in which half of the callers have an answer that needs no platform."""

ACCOUNT = [
    Fault(
        "rejects the credentials",
        does.refuses(WRONG),
        [
            Step(range(1, 21), {CREDENTIALS_REJECTED: 20}, "at once", retry_after=Count(58, 60)),
            Step(range(21, 41), {CREDENTIALS_REJECTED: 20}, retry_after=Count(55, 60), median=QUICK),
            Step([41], {CREDENTIALS_REJECTED: 1}, retry_after=120, later=60),
            Step([42], {CREDENTIALS_REJECTED: 1}, retry_after=Count(50, 60), later=61),
            Step([43], {STATE: 1}, later=60, recovered=True),
        ],
        requests=at_most(4),
    ),
    Fault(
        "says that the account is locked",
        does.refuses(LOCKED),
        [
            Step(range(1, 21), {ACCOUNT_LOCKED: 20}, retry_after=Count(295, 300)),
            Step(range(21, 41), {ACCOUNT_LOCKED: 20}, "in one batch", retry_after=Count(1, 5), later=295),
            Step(range(1, 21), {STATE: 20}, "in one batch", later=6, recovered=True),
        ],
        requests=2,
    ),
    *(
        Fault(
            f"rejects the credentials with “{text}” and status {status}",
            does.refuses(text, status),
            [
                Step(range(start, start + 100), {CREDENTIALS_REJECTED: 100}, "in one batch", retry_after=Count(55, 60))
                for start in range(1, 601, 100)
            ],
            requests=at_most(2),
        )
        for text in REJECTIONS
        for status in (200, 400, 401, 403, 500)
    ),
    Fault(
        "rejects the credentials entry by entry",
        does.says_of_each("Неверный логин или пароль"),
        [
            Step(range(start, start + 100), {CREDENTIALS_REJECTED: 100}, "in one batch", retry_after=Count(55, 60))
            for start in range(1, 601, 100)
        ],
        requests=at_most(2),
    ),
    Fault(
        "says “Аккаунт заблокирован.” with status 403",
        does.refuses("Аккаунт заблокирован.", 403),
        [Step(range(1, 21), {ACCOUNT_LOCKED: 20}, retry_after=Count(295, 300))],
        requests=1,
    ),
    Fault(
        "fails with an unknown text (500)",
        does.refuses("Database is locked", 500),
        one(ERROR),
        requests=2,
    ),
    Fault(
        "refuses the same request twice within a minute",
        does.after(1, does.refuses("Попытка отправки более одного одинакового запроса в течение минуты")),
        [
            Step([1], {THROTTLED: 1}, retry_after=60),
            Step([1] * 20, {THROTTLED: 20}, retry_after=Count(55, 60), median=QUICK),
            Step(range(2, 22), {STATE: 20}),
            Step([1], {STATE: 1}, later=60),
        ],
        requests=22,
    ),
    Fault("shows the credentials in its error text", does.echo_the_request, one(REJECTED), 1),
]

LOAD = [
    Fault(
        "throttles (429, `Retry-After: 7`)",
        does.replies(b"", 429, retry_after="7"),
        [
            Step([1], {THROTTLED: 1}, retry_after=7),
            Step(range(2, 22), {THROTTLED: 20}, retry_after=Count(5, 7), median=QUICK),
            Step([1], {STATE: 1}, later=7, recovered=True),
        ],
        requests=2,
    ),
    Fault(
        "throttles for an hour (429, `Retry-After: 3600`)",
        does.replies(b"", 429, retry_after="3600"),
        one(THROTTLED, retry_after=60),
        requests=1,
    ),
    Fault(
        "fails for a while (500)",
        does.replies(b"", 500),
        [
            Step(range(1, 6), {ERROR: 5}, within=2),
            Step(range(6, 106), {UNAVAILABLE: 100}, retry_after=Count(1, 5), median=QUICK),
            Step([106], {ERROR: 1}, later=5.1),
            Step([107], {UNAVAILABLE: 1}, retry_after=5),
            Step(range(1, 11), {STATE: 10}, later=5.1, recovered=True),
        ],
        requests=exactly(10 + 1 + 10),
    ),
    Fault(
        "fails for a while (500) under many callers",
        does.replies(b"", 500),
        [
            *(
                Step(range(start, start + 20), {ERROR: at_most(20), UNAVAILABLE: at_most(20)}, "at once", later=0.1)
                for start in range(1, 601, 20)
            ),
            Step([601], {STATE: 1}, later=6, recovered=True),
        ],
        requests=at_most(40),
    ),
    Fault(
        "is overrun tenfold: 200 callers in an instant, where 10 ids take 0.1 s and 40 may wait",
        does.slow(0.1),
        [
            Step(range(1, 201), {STATE: Count(40, 100), OVERLOADED: Count(100, 160)}, "at once", retry_after=1),
            Step([501], {STATE: 1}),
        ],
        requests=at_most(13),
        settings={"upstream_max_in_flight": 1, "upstream_batch_size": 10, "max_queued_ids": 40},
    ),
]

CALLERS = [
    Fault(
        "is slow, and callers leave before the answer",
        does.slow(0.3),
        [
            Step([1] * 20, {}, "leaving before the answer"),
            Step([1], {STATE: 1}),
        ],
        requests=1,
    ),
    Fault(
        "is slow, and callers leave while others wait for the same answers",
        does.slow(0.3),
        [Step(range(1, 101), {STATE: 100}, "at once, while as many others leave")],
        requests=at_most(6),
    ),
]
