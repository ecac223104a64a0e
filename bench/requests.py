"""The ids of a load, and the bytes of its requests: for Python as they are, for wrk as a Lua script."""

import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

DOCUMENTED = (0, 1, 2, 3, 4, 6)
"""Last digits of ids for which the sandbox answers a documented state at once (see ``app/upstream/sandbox.py``)."""
FINAL = (2, 3, 4)
CHANGING = (0, 6)
"""``send`` and ``deliver``: what a frontend goes on polling."""
UNKNOWN = 8
"""Last digit of ids that the sandbox leaves out of its reply."""
POISON = 1_000_000_000_000_000
"""The first of the ids for which ``bench/peers/poisoned.py`` refuses whole requests."""
RUN = 10_000_000
"""Tens of ids that a run may use; the next run starts after them."""


@dataclass(frozen=True)
class Ids:
    """A sequence of ids: ``digits`` in turn behind ``first``, ``first + 1``, …; over again after ``count`` ids."""

    first: int
    digits: tuple[int, ...]
    count: int | None = None

    def __getitem__(self, index: int) -> int:
        """The id at this place."""
        place = index if self.count is None else index % self.count
        tens, digit = divmod(place, len(self.digits))
        return (self.first + tens) * 10 + self.digits[digit]

    def __iter__(self) -> Iterator[int]:
        """All of them, without end."""
        return (self[index] for index in itertools.count())


NO_TAGS: Mapping[int, str] = MappingProxyType({})
_IF_NONE_MATCH = "If-None-Match: {}\r\n\r\n"


class Runs:
    """Hands out ids that no other run has used, and none below the thousand where the sandbox fails on purpose."""

    def __init__(self) -> None:
        self._first = itertools.count(RUN, RUN)

    def fresh(self, digits: tuple[int, ...] = DOCUMENTED, count: int | None = None) -> Ids:
        """Ids that were never asked for."""
        return Ids(next(self._first), digits, count)


@dataclass(frozen=True)
class Shape:
    """How a candidate wants to be asked.

    ``path`` holds ``{id}`` where the id stands in it; otherwise the ids stand in the body, between ``opening`` and
    ``closing``, separated by ``between``.
    """

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    opening: str = ""
    between: str = ""
    closing: str = ""

    def parts(self, host: str) -> tuple[str, str]:
        """What stands before and behind the id of a path, or before and behind the length of a body."""
        headers = "".join(f"{name}: {value}\r\n" for name, value in (("Host", host), *self.headers))
        head = f"{self.method} {self.path} HTTP/1.1\r\n{headers}"
        if "{id}" in self.path:
            before, _, behind = head.partition("{id}")
            return before, behind + "\r\n"
        return head + "Content-Length: ", "\r\n\r\n"

    def requests(
        self, host: str, streams: tuple[Ids, ...], batch: int, tags: Mapping[int, str] = NO_TAGS
    ) -> Iterator[bytes]:
        """The requests of a load without end: ``batch`` ids each, taken from the streams in turn.

        Where the id stands in the path and ``tags`` has an entity tag for it, the tag is sent as ``If-None-Match``.
        """
        before, behind = self.parts(host)
        ids = itertools.chain.from_iterable(zip(*streams, strict=True))
        while True:
            chosen = [str(id_) for id_ in itertools.islice(ids, batch)]
            if "{id}" in self.path:
                tag = tags.get(int(chosen[0]))
                end = behind if tag is None else behind[:-2] + _IF_NONE_MATCH.format(tag)
                yield f"{before}{chosen[0]}{end}".encode()
            else:
                body = self.opening + self.between.join(chosen) + self.closing
                yield f"{before}{len(body)}{behind}{body}".encode()


LUA = """\
local streams, batch, in_path = {streams}, {batch}, {in_path}
local before, behind = {before}, {behind}
local opening, between, closing = {opening}, {between}, {closing}
local tags = {tags}
local turn = 0

local function next_id()
  local stream = streams[turn % #streams + 1]
  local place = math.floor(turn / #streams)
  turn = turn + 1
  if stream.count > 0 then place = place % stream.count end
  local digits = stream.digits
  local tens = math.floor(place / #digits)
  return string.format("%.0f", (stream.first + tens) * 10 + digits[place % #digits + 1])
end

function request()
  if in_path then
    local id = next_id()
    return before .. id .. (tags[id] or behind)
  end
  local ids = {{}}
  for n = 1, batch do ids[n] = next_id() end
  local body = opening .. table.concat(ids, between) .. closing
  return before .. #body .. behind .. body
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\nbench {{"answered": %d, "refused": %d, "broken": %d, "seconds": %.6f, ' ..
    '"p50": %.3f, "p99": %.3f, "p999": %.3f}}\\n',
    summary.requests - errors.status, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency:percentile(99.9) / 1e3))
end
"""


def lua(shape: Shape, host: str, streams: tuple[Ids, ...], batch: int, tags: Mapping[int, str] = NO_TAGS) -> str:
    """The same requests for wrk, and a report that ``load.py`` reads. For one thread: a second would repeat the ids.

    A JSON string of plain ASCII is also a Lua string.
    """
    before, behind = shape.parts(host)
    tables = (
        f"{{first = {each.first}, count = {each.count or 0}, digits = {{{', '.join(map(str, each.digits))}}}}}"
        for each in streams
    )
    return LUA.format(
        streams="{" + ", ".join(tables) + "}",
        batch=batch,
        in_path=json.dumps("{id}" in shape.path),
        before=json.dumps(before),
        behind=json.dumps(behind),
        opening=json.dumps(shape.opening),
        between=json.dumps(shape.between),
        closing=json.dumps(shape.closing),
        tags="{"
        + ", ".join(f'["{id_}"] = {json.dumps(behind[:-2] + _IF_NONE_MATCH.format(tag))}' for id_, tag in tags.items())
        + "}",
    )
