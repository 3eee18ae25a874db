-- Needs ending.
-- Let jobs go whose deadline is over (failed) or in which nobody showed an interest (cancelled).
-- ARGV: JSON {names (see ending.lua), error (JSON of those that expired), most (at a time)}
-- Answers how many there were: `most` means that there may be more.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local names, sums = asked.names, new_sums()

local function let_go(due, state, payload, most)
  local ids = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local was = redis.call('HGET', names.job .. id, 'state')
    if was and not ENDED[was] and was ~= 'cancelling' then leave(names, id, state, payload, now, sums) end
  end
  if #ids > 0 then redis.call('ZREM', due, unpack(ids)) end
  return #ids
end

local expired = let_go(names.deadlines, 'failed', asked.error, asked.most)
local unseen = let_go(names.interests, 'cancelled', '', asked.most - expired)
book(names, sums, now)
return expired + unseen
