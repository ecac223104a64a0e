"""What an object still holds on to, whatever its classes look like inside."""

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType


def integers_held_by(root: object) -> set[int]:
    """Every integer that can be reached from ``root`` without going through modules, classes and global variables."""
    return {each for each in _reachable(root) if type(each) is int}


def strings_held_by(root: object) -> set[str]:
    """Every text that can be reached from ``root`` in the same way."""
    return {each for each in _reachable(root) if type(each) is str}


def _reachable(root: object) -> Iterator[object]:
    seen = {id(root)}
    waiting = [root]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current, FunctionType):
            found: list[object] = [*(current.__closure__ or ()), *(current.__defaults__ or ())]
        else:
            found = gc.get_referents(current)
            if isinstance(current, dict):
                found += current  # the garbage collector passes over keys that are all texts
        for each in found:
            if id(each) not in seen and not isinstance(each, type | ModuleType):
                seen.add(id(each))
                waiting.append(each)
