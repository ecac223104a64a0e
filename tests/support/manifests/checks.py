"""All the checks."""

from collections.abc import Callable

from tests.support.manifests import code, rollout, safety, wiring
from tests.support.manifests.reading import Documents

Check = Callable[[Documents], list[str]]

CHECKS: list[Check] = [
    getattr(room, name) for room in (code, wiring, safety, rollout) for name in vars(room) if name.startswith("check_")
]
