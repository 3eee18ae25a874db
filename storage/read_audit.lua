-- Events of the audit log, of its two streams as if they were one.
-- KEYS: the stream of users, that of strangers
-- Arguments: command (XRANGE: oldest first, or XREVRANGE), from, to, most
-- Answers the first `most` as that command does.
local is_rising = arguments.command == 'XRANGE'

local function events_of(stream)
  return redis.call(arguments.command, stream, arguments.from, arguments.to, 'COUNT', arguments.most)
end

local function comes_first(id, other)
  local ms, number = string.match(id, '(%d+)-(%d+)')
  local other_ms, other_number = string.match(other, '(%d+)-(%d+)')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  if ms == other_ms then ms, other_ms = tonumber(number), tonumber(other_number) end
  return (ms < other_ms) == is_rising
end

local of_users, of_strangers = unpack(KEYS)
local ours, theirs = events_of(of_users), events_of(of_strangers)
local merged, i, j = {}, 1, 1
while #merged < arguments.most and (ours[i] or theirs[j]) do
  if not theirs[j] or ours[i] and comes_first(ours[i][1], theirs[j][1]) then
    merged[#merged + 1], i = ours[i], i + 1
  else
    merged[#merged + 1], j = theirs[j], j + 1
  end
end
return merged
