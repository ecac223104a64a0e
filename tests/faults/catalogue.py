"""Every fault, in the order of ``docs/faults.md``."""

from collections.abc import Mapping, Sequence

from tests.faults import account, arrays, wire
from tests.faults.fault import Fault

FAULTS: Mapping[str, Sequence[Fault]] = {
    "Time": wire.TIME,
    "Connection": wire.CONNECTION,
    "Status": wire.STATUS,
    "Body": wire.BODY,
    "Account": account.ACCOUNT,
    "Load": account.LOAD,
    "Poisoned ids": arrays.POISON,
    "Missing ids": arrays.MISSING,
    "Callers": account.CALLERS,
}
"""Heading → faults."""
