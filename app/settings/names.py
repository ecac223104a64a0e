"""Names that are no setting's but were probably meant to be one."""

from collections.abc import Collection, Iterable

PLATFORM_PREFIX = "upstream_"
NEAR = 2
"""A name that is at most so many letters off a setting's was probably meant to be that setting."""
NEVER_MEANT = frozenset({"home"})
"""Variables of every environment that are as near to a setting's (``HOST``)."""


def misspelled(known: Collection[str], variables: Iterable[str], files: Iterable[str] = ()) -> list[str]:
    """A line for every name that is no setting but was probably meant to be one, with the nearest that is.

    Of a file's name what follows a dot does not count: ``API_KEYS.txt``.
    """
    shown = {name.lower(): name.upper() for name in variables}
    shown |= {stem: name for name in files if (stem := name.lower()) not in known}
    lines = []
    for folded, name in sorted(shown.items()):
        stem = folded.partition(".")[0]
        if folded in known or folded in NEVER_MEANT:
            continue
        # Most variables have nothing to do with this service, and comparing every one with every setting takes a while.
        meant = folded.startswith(PLATFORM_PREFIX)
        likely = known if meant else [each for each in known if abs(len(each) - len(stem)) <= NEAR]
        far, nearest = min(((distance(stem, each), each) for each in likely), default=(NEAR + 1, ""))
        if meant or far <= NEAR:
            lines.append(f"{name}: is not a setting and has no effect; did you mean {nearest.upper()}?")
    return lines


def distance(one: str, other: str) -> int:
    """How many letters have to be added, left out, changed or swapped with the next one to make one of the other."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, start=1):
        now = [row]
        for column, against in enumerate(other, start=1):
            best = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != against))
            if row > 1 and column > 1 and (letter, one[row - 2]) == (other[column - 2], against):
                best = min(best, before[column - 2] + 1)
            now.append(best)
        before, last = last, now
    return last[-1]
