"""What version 0.1 does with the values of a shared Redis: a rollout has both versions on one."""

import re

READABLE = re.compile(
    rb"v1[pdfn][+-]\|[0-9]{1,15}\|[0-9T:+.-]*\|[0-9]{0,9}\|(?:-?[0-9.]+)?\|.*",
    re.DOTALL,
)
"""A value that 0.1 takes for an answer. Everything else is a miss there."""

WRITE = r"""
local V1 = '^v1(%a)([+-])|(%d+)|([^|]*)|([^|]*)|([^|]*)|(.*)$'
local function join(kind, lifetime, changed, parts, price, state)
  return 'v1' .. kind .. '+|' .. table.concat({lifetime, changed, parts, price, state}, '|')
end
local kept = {}
for i, key in ipairs(KEYS) do
  local new, left = ARGV[2 * i - 1], ARGV[2 * i]
  local old = redis.pcall('GET', key)
  local other = false
  if type(old) == 'string' then
    local kind, detail, lifetime, changed, parts, price, state = old:match(V1)
    local nkind, ndetail, nlifetime, nchanged, nparts, nprice, nstate = new:match(V1)
    if not kind then
      local version = old:match('^v(%d+)f')
      if version and version ~= '1' then new = false end
    elseif kind == 'f' and (nkind == 'n' or nstate ~= state) then
      new, left, other = false, false, old
      if ndetail == '+' and detail == '-' then
        new = join(kind, lifetime, changed, nparts, nprice, state)
        other = new
      end
    elseif detail == '+' and ndetail == '-' and nstate == state then
      new = join(nkind, nlifetime, nchanged, parts, price, state)
      other = new
    end
  end
  if new and left then redis.call('SET', key, new, 'PX', left) end
  if new and not left then redis.call('SET', key, new, 'KEEPTTL') end
  kept[i] = other and redis.call('PTTL', key) .. ' ' .. other
end
return kept
"""
"""How 0.1 writes: keys, and for each a value and its milliseconds."""
