"""How an answer is written where other replicas read it, and the scripts that the server runs.

A value is ``v1f+|86400000|2021-04-26T15:15:03+03:00|1|10.6000000|read``: version, kind (``p`` pending, ``d``
delivered, ``f`` final, ``n`` not found, ``e`` another error text of this id), whether it has the detail (``+`` or
``-``), lifetime in milliseconds, time of the change, parts, price, and last the state, since it may hold any character.
Of ``n`` the last is the platform's text, where it gave one, of ``e`` the problem's slug, a blank and the text. Version
0.1 knows no ``e``: it is a miss there, and is overwritten. What 0.1 wrote with a state that is no documented word or a
sentence is a miss here.

The key lives from the platform's reply on for the lifetime that stands in its value: as long as the answer is good, and
where lifetimes grow some time more, in which it only tells how long its state has lasted. Version 0.1, whose lifetimes
do not grow, computes the same age of the answer and uses it as long as its own settings say.

Where a state has no time of its change, a second key, ``…:seen``, has the milliseconds that it had lasted at that
reply: ``34000|p|send``. It counts while kind and state are those of the value, which 0.1 may have overwritten.

Version and kind begin the value in every version to come, so that an older replica neither reads nor overwrites a
newer one's final state. What it cannot read is a miss. No clock of a replica is written: how old a value is follows
from its lifetime and from what the server says is left of it.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from app.lookup.failures import CACHEABLE, AboutOneMessage, MessageNotFound
from app.lookup.record import Cacheable, MessageRecord, Outcome, documented, is_word

_FOUND = re.compile(
    r"(?P<left>[0-9]{1,15}) (?:(?P<lasted>[0-9]{1,15}) )?v1(?P<kind>[pdfne])(?P<detail>[+-])"
    r"\|(?P<lifetime>[0-9]{1,15})\|(?P<changed>[0-9T:+.-]*)"
    r"\|(?P<parts>[0-9]{0,9})\|(?P<price>(?:-?[0-9.]+)?)\|(?P<state>.*)",
    re.DOTALL,
)


class SharedAnswer(NamedTuple):
    """An answer that another replica got, the seconds since the platform's reply, and where it was told the seconds
    that its state had lasted then."""

    answer: Cacheable
    age: float
    lasted: float | None


def encode(answer: Cacheable, lifetime_ms: int) -> bytes:
    """The value of an answer that is kept for ``lifetime_ms`` from the platform's reply on."""
    if isinstance(answer, AboutOneMessage):
        text = answer.upstream_message or ""
        if isinstance(answer, MessageNotFound):
            return f"v1n-|{lifetime_ms}||||{text}".encode()
        return f"v1e-|{lifetime_ms}||||{answer.slug} {text}".encode()
    meaning = answer.meaning
    kind = "f" if meaning.final else "d" if meaning.outcome is Outcome.DELIVERED else "p"
    changed = answer.changed_at.isoformat() if answer.changed_at else ""
    parts = "" if answer.parts is None else answer.parts
    price = answer.price_per_part or ""
    detail = "+" if answer.detailed else "-"
    return f"v1{kind}{detail}|{lifetime_ms}|{changed}|{parts}|{price}|{answer.state}".encode()


def encode_seen(answer: Cacheable, lasted_ms: int) -> bytes:
    """How long a state had lasted at the platform's reply; empty where it is final or has the time of its change."""
    if isinstance(answer, MessageRecord) and (answer.changed_at is not None or answer.meaning.final):
        return b""
    head, _, _, _, _, state = encode(answer, 0).split(b"|", 5)
    return b"%d|%c|%b" % (lasted_ms, head[2], state)


def decode(id_: int, found: object) -> SharedAnswer | None:
    """The answer that the server found, with its age by the server's clock; None where 0.1 misread the platform.

    Raises ValueError for what this version cannot read.
    """
    match = _FOUND.fullmatch(found.decode()) if isinstance(found, bytes) else None
    if match is None:
        raise ValueError("another version, or not one of ours")
    age = max(int(match["lifetime"]) - int(match["left"]), 0) / 1000
    answer = _answer(id_, match)
    return (
        None if answer is None else SharedAnswer(answer, age, int(match["lasted"]) / 1000 if match["lasted"] else None)
    )


def _answer(id_: int, match: re.Match[str]) -> Cacheable | None:
    if match["kind"] == "n":
        return MessageNotFound("another replica was told so", upstream_message=match["state"] or None)
    if match["kind"] == "e":
        slug, _, text = match["state"].partition(" ")
        if slug not in CACHEABLE:
            raise ValueError("a problem of another version")
        return CACHEABLE[slug]("another replica was told so", upstream_message=text or None)
    changed_at = datetime.fromisoformat(match["changed"]) if match["changed"] else None
    if not match["state"] or (changed_at is not None and changed_at.tzinfo is None):
        raise ValueError("half a value")
    if not is_word(match["state"]) or documented(match["state"]) not in (None, match["state"]):
        return None
    parts = int(match["parts"]) if match["parts"] else None
    state = documented(match["state"]) or match["state"]
    return MessageRecord(id_, state, changed_at, parts, match["price"] or None, match["detail"] == "+")


@dataclass(frozen=True)
class Script:
    """A Lua script, which the server runs in one atomic step, and the name that it then knows it by."""

    text: str

    @property
    def sha(self) -> str:
        """The digest that EVALSHA wants; it is a name, not a protection."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


_FOUND_IN_LUA = """
local function read(key)
  -- pcall: a key of another type is rubbish, and rubbish is a miss.
  local value = redis.pcall('GET', key)
  if type(value) ~= 'string' then return false end
  local kind, state = value:match('^v1([pdne])[+-]|%d+||[^|]*|[^|]*|(.*)$')
  local seen = kind and redis.pcall('GET', key .. ':seen')
  local lasted = type(seen) == 'string' and seen:match('^%d+')
  if lasted and seen == lasted .. '|' .. kind .. '|' .. state then value = lasted .. ' ' .. value end
  return redis.call('PTTL', key) .. ' ' .. value
end
local found = {}
"""

READ = Script(
    _FOUND_IN_LUA
    + """
for i, key in ipairs(KEYS) do found[i] = read(key) end
return found
"""
)
"""KEYS: messages. Returns for each ``MS-LEFT VALUE`` or nil; with ``MS-LASTED`` before the value if the ``:seen`` key
has it. One string: redis-py spends most of its time on counting what replies consist of.
"""

LEASE = Script(
    _FOUND_IN_LUA
    + """
for i, key in ipairs(KEYS) do
  local lease = key .. ':lease'
  local holder = redis.pcall('GET', lease)
  local mine = type(holder) ~= 'string' or holder == ARGV[1]
  if mine then redis.call('SET', lease, ARGV[1], 'PX', ARGV[i + 1]) end
  found[i] = (mine and '+' or '-') .. (read(key) or '')
end
return found
"""
)
"""KEYS: messages. ARGV: the holder, then milliseconds for each key. Returns for each ``+`` if the holder has the
lease now, else ``-``, followed by what ``READ`` returns."""

RELEASE = Script("""
for _, key in ipairs(KEYS) do
  local lease = key .. ':lease'
  -- SET, which has to be allowed anyway, and not DEL, which version 0.1 did not need.
  if redis.pcall('GET', lease) == ARGV[1] then redis.call('SET', lease, '', 'PX', 1) end
end
""")
"""Ends the holder's leases. KEYS: messages. ARGV: the holder."""

WRITE = Script(r"""
local SLACK = 100 -- milliseconds, by which ages in different replicas may differ
local V1 = '^v1(%a)([+-])|(%d+)|([^|]*)|([^|]*)|([^|]*)|(.*)$'
local function join(kind, lifetime, changed, parts, price, state)
  return 'v1' .. kind .. '+|' .. table.concat({lifetime, changed, parts, price, state}, '|')
end
local kept = {}
for i, key in ipairs(KEYS) do
  local new, left, seen = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local old = redis.pcall('GET', key)
  local other = false
  if type(old) == 'string' then
    local kind, detail, lifetime, changed, parts, price, state = old:match(V1)
    local nkind, ndetail, nlifetime, nchanged, nparts, nprice, nstate = new:match(V1)
    if not kind then
      local version = old:match('^v(%d+)f')
      if version and version ~= '1' then new = false end
    elseif kind == 'f' and (nkind == 'n' or nkind == 'e' or nstate ~= state) then
      new, left, other = false, false, old
      if ndetail == '+' and detail == '-' then
        new = join(kind, lifetime, changed, nparts, nprice, state)
        other = new
      end
    elseif nkind ~= 'f' and lifetime - redis.call('PTTL', key) < nlifetime - left - SLACK then
      -- Written late, as after a failover: what is there came from the platform afterwards.
      new, left, other = false, false, old
      if ndetail == '+' and detail == '-' and nstate == state then
        new = join(kind, lifetime, changed, nparts, nprice, state)
        other = new
      end
    elseif detail == '+' and ndetail == '-' and nkind ~= 'n' and nkind ~= 'e' and nstate == state then
      new = join(nkind, nlifetime, nchanged, parts, price, state)
      other = new
    end
  end
  if new and left then redis.call('SET', key, new, 'PX', left) end
  if new and left and seen ~= '' then redis.call('SET', key .. ':seen', seen, 'PX', left) end
  if new and not left then redis.call('SET', key, new, 'KEEPTTL') end
  kept[i] = other and redis.call('PTTL', key) .. ' ' .. other
end
return kept
""")
"""``record.merge`` for replies, on the server. Keys, and for each value, milliseconds left and how long its state has
lasted in; for each what is there instead of what was given, in the form of ``READ``, or nothing."""

PUBLISH = Script("""
for _, update in ipairs(ARGV) do redis.call('PUBLISH', KEYS[1], update) end
""")
"""Publishes each of ARGV on the channel KEYS[1]."""
