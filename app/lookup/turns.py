"""Fair queueing: one id of each caller in turn (round robin).

Every caller has a line of its ids, oldest first. Nothing here looks at
more entries than it hands out or drops, however many wait.

    turns = Turns(is_wanted=lambda entry, caller: True, on_unwanted=…, on_shared=…)
    turns.add(caller, entry)
    batch = turns.take(100, apart=())   # at most 100 ids that may travel together
    alone = turns.take_alone()          # an id that must be asked alone, if take() came upon any
"""

from collections import OrderedDict
from collections.abc import Callable, Container

from app.lookup.caller import Caller
from app.lookup.waiter import Entry


class Line:
    """The entries of one caller, oldest first. In ``alone`` are those that must be asked alone; they are older.

    ``level`` is the line's place in ``_Lengths``.
    """

    __slots__ = ("alone", "caller", "level", "together")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.level = 0
        self.together: OrderedDict[int, Entry] = OrderedDict()
        self.alone: OrderedDict[int, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self.together) + len(self.alone)

    @property
    def oldest(self) -> Entry:
        """The entry that waits longest."""
        return next(iter((self.alone or self.together).values()))

    @property
    def newest(self) -> Entry:
        """The entry that came last."""
        return next(reversed((self.together or self.alone).values()))


class Turns:
    """Queued entries of several callers. An entry may stand in the lines of several of them.

    ``is_wanted``: whether the caller still waits for the entry when its turn has come. Where it does not, the entry
    leaves its line and ``on_unwanted`` is called. ``on_shared`` is called with an entry that is taken and that others
    ask for too, to remove it from their lines. ``lines`` are those of the callers that have entries here; in
    ``alone`` are the lines for ``take_alone``.
    """

    def __init__(
        self,
        is_wanted: Callable[[Entry, Caller], bool],
        on_unwanted: Callable[[Entry, Caller], None],
        on_shared: Callable[[Entry], None],
    ) -> None:
        self._is_wanted = is_wanted
        self._on_unwanted = on_unwanted
        self._on_shared = on_shared
        self._lengths = _Lengths()
        self.lines: dict[str, Line] = {}
        # The circles: who comes first has the next turn.
        self._together: OrderedDict[str, Line] = OrderedDict()
        self.alone: OrderedDict[str, Line] = OrderedDict()

    def add(self, caller: Caller, entry: Entry) -> None:
        """Add an entry at the end of its caller's line; a caller's first one gets the last turn."""
        line = self.lines.get(caller.identity)
        if line is None:
            line = self.lines[caller.identity] = Line(caller)
        if not line.together:
            self._together[caller.identity] = line
            line.together[entry.id] = entry
        else:
            line.together[entry.id] = entry
            if len(line.together) + len(line.alone) > line.level:
                self._lengths.raise_level(line)

    def put_back(self, caller: Caller, entry: Entry) -> None:
        """Put an entry that has to be asked alone at the head of its caller's line, whose turn is the next."""
        line = self.lines.get(caller.identity) or Line(caller)
        self.lines[caller.identity] = line
        line.alone[entry.id] = entry
        line.alone.move_to_end(entry.id, last=False)
        self.alone[caller.identity] = line
        self.alone.move_to_end(caller.identity, last=False)
        self._lengths.raise_level(line)

    def take(self, limit: int, apart: Container[int]) -> list[Entry]:
        """Take the entries whose turn it is, at most ``limit``. Those ``apart``, by id, wait for ``take_alone``."""
        taken: list[Entry] = []
        circle = self._together
        while len(taken) < limit and circle:
            identity, line = circle.popitem(last=False)
            while line.together:
                id_, entry = line.together.popitem(last=False)
                if entry.alone or id_ in apart:
                    line.alone[id_] = entry
                    self.alone.setdefault(identity, line)
                elif self._is_wanted(entry, line.caller):
                    taken.append(entry)
                    if len(entry.askers) > 1:
                        self._on_shared(entry)
                    break
                else:
                    self._on_unwanted(entry, line.caller)
            if line.together:
                circle[identity] = line
            elif not line.alone:
                del self.lines[identity]
                if line.level:
                    self._lengths.remove(line)
        return taken

    def take_alone(self) -> list[Entry]:
        """Take the entry whose turn it is of those that must be asked alone; empty where there is none."""
        while self.alone:
            identity, line = self.alone.popitem(last=False)
            entry = line.alone.popitem(last=False)[1]
            if line.alone:
                self.alone[identity] = line
            elif not line.together:
                self._end(line)
            if self._is_wanted(entry, line.caller):
                if len(entry.askers) > 1:
                    self._on_shared(entry)
                return [entry]
            self._on_unwanted(entry, line.caller)
        return []

    def remove(self, identity: str, id_: int) -> None:
        """Remove an entry from a caller's line, if it is there."""
        line = self.lines.get(identity)
        if line is None:
            return
        if line.together.pop(id_, None) is not None:
            if not line.together:
                del self._together[identity]
        elif line.alone.pop(id_, None) is not None:
            if not line.alone:
                del self.alone[identity]
        else:
            return
        if not line:
            self._end(line)

    def longest(self) -> Line | None:
        """The line with the most entries."""
        return self._lengths.longest()

    def move(self, caller: Caller, target: "Turns") -> None:
        """Move all entries of a caller to ``target``."""
        line = self.lines.get(caller.identity)
        if line is None:
            return
        for entry in (*line.alone.values(), *line.together.values()):
            self.remove(caller.identity, entry.id)
            target.add(caller, entry)

    def clear(self) -> None:
        """Let go of everything."""
        self.lines.clear()
        self._together.clear()
        self.alone.clear()
        self._lengths = _Lengths()

    def _end(self, line: Line) -> None:
        del self.lines[line.caller.identity]
        if line.level:
            self._lengths.remove(line)


class _Lengths:
    """Finds the longest line at a cost that does not depend on how many there are.

    A line's level is at least its length. It is raised now and then as the line grows, and lowered only where somebody
    looks for the longest. Lines of one entry may have none.
    """

    def __init__(self) -> None:
        self._levels: dict[int, dict[str, Line]] = {}

    def raise_level(self, line: Line) -> None:
        # With some room, or a batch of a thousand would move its line a thousand times.
        self._move(line, 2 * len(line))

    def remove(self, line: Line) -> None:
        self._move(line, 0)

    def longest(self) -> Line | None:
        while self._levels:
            # Ten thousand entries make at most some 150 different lengths.
            top = max(self._levels)
            # Not next(reversed(…)), which passes over all that have been deleted there.
            identity, line = self._levels[top].popitem()
            self._levels[top][identity] = line
            if len(line) == top:
                return line
            self._move(line, len(line))
        return None

    def _move(self, line: Line, level: int) -> None:
        if line.level:
            lines = self._levels[line.level]
            del lines[line.caller.identity]
            if not lines:
                del self._levels[line.level]
        line.level = level
        if level:
            self._levels.setdefault(level, {})[line.caller.identity] = line
