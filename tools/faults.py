"""``docs/faults.md``: the table of faults, from the data of the fault suite."""

from collections.abc import Sequence
from itertools import groupby

from tests.door.case import SHORT as SHORT_LIMITS
from tests.door.case import Case
from tests.door.catalogue import CASES
from tests.faults.catalogue import FAULTS
from tests.faults.fault import SOON, Fault, Step, count
from tests.faults.wire import AT_THE_DEADLINE, SHORT

_LIMITS = ", ".join(f"`{name.upper()}` {seconds:g}" for name, seconds in SHORT.items())
INTRODUCTION = f"""# Faults

What callers see and what the platform sees when something goes wrong between them. Each row is a test
(`tests/faults/`): a hostile platform on a real socket, the service on another, and callers that measure. After each
row nothing is left behind: no queued id, no task, no future, no connection. No answer holds a credential, and no log
line at any level.

- Every answer comes within {SOON:g} s unless the row says otherwise; **half within** is the median.
- Rows that speak of the deadline run with scaled down limits: {_LIMITS}.
- **later** is time on the service's clock, which the tests put forward; **recovered**: from here on the platform
  behaves.
- Requests are counted over all the steps of a row. One request may hold many ids.

Two more bounds are tested with the service as a process of its own: hostile bodies, one after another, make it grow by
less than 40 MiB, and a thousand lookups over a thousand connections, before a platform that takes 0.1 s, are at most
40 requests.
"""

_QUICK = ", ".join(
    f"{what} {seconds:g} s"
    for what, seconds in (
        ("head", SHORT_LIMITS.head_seconds),
        ("body", SHORT_LIMITS.body_seconds),
        ("silence", SHORT_LIMITS.idle_seconds),
    )
)
CLIENTS = f"""## Clients

What odd, slow and hostile clients get. Each row is a test (`tests/door/test_door.py`): raw bytes on a real socket, the
application behind the production server. After each row nothing is left behind: no task, no future, no descriptor, no
input; the log has no warning; and another client is answered. **stays** is a connection that takes another request.

Rows under *Slow* run with scaled down limits ({_QUICK}).
Clients that leave, that send too much ahead, or that take no reply are in `tests/door/test_connections.py`, floods and
their memory in `tests/door/test_memory.py`, real proxies and Java's client beside them.
"""

HEAD = ("the platform", "callers see", "the platform sees")


def rows(group: Sequence[Fault]) -> list[tuple[str, str, str]]:
    """A row for each fault."""
    return [(fault.name, "<br>".join(_steps(fault.steps)), _traffic(fault)) for fault in group]


def _steps(steps: Sequence[Step]) -> list[str]:
    """A line for each step; equal ones that follow each other share a line."""
    texts = [(text, len(list(same))) for text, same in groupby(map(_step, steps))]
    return [f"{times} times: {text}" if times > 1 else text for text, times in texts]


def _step(step: Step) -> str:
    ids = len(step.ids)
    when = (f"{step.later:g} s later, " if step.later else "") + ("recovered, " if step.recovered else "")
    what = "" if ids == 1 and not when else f"{when}{ids} {step.how}: " if ids > 1 else f"{when}one: "
    return what + (", ".join([*_answers(step), *_limits(step)]) if step.sees else "nothing")


def _answers(step: Step) -> list[str]:
    if len(step.sees) == 1:
        return [str(next(iter(step.sees)))]
    return [f"{count(number)} × {sees}" for sees, number in step.sees.items()]


def _limits(step: Step) -> list[str]:
    limits = []
    if step.retry_after is not None:
        limits.append(f"`Retry-After` {count(step.retry_after)}")
    if step.within == AT_THE_DEADLINE:
        limits.append("within the deadline + 0.3 s")
    elif step.within != SOON:
        limits.append(f"within {step.within:g} s")
    if step.median is not None:
        limits.append(f"half within {step.median:g} s")
    return limits


def _traffic(fault: Fault) -> str:
    parts = [_plural(str(count(fault.requests)), "request")]
    if fault.connections is not None:
        parts.append(_plural(str(count(fault.connections)), "connection"))
    return ", ".join(parts)


def _plural(number: str, noun: str) -> str:
    return f"{'no' if number == '0' else number} {noun}{'' if number == '1' or number.endswith(' 1') else 's'}"


def sections() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each heading with its rows."""
    return [(heading, rows(group)) for heading, group in FAULTS.items()]


CLIENT_HEAD = ("the client", "answers", "the connection")


def client_sections() -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each heading with the rows of what clients send."""
    return [(heading, [_client_row(case) for case in cases]) for heading, cases in CASES.items()]


def _client_row(case: Case) -> tuple[str, str, str]:
    return case.name, ", ".join(map(str, case.answers)) or "none", "stays" if case.stays else "is closed"
