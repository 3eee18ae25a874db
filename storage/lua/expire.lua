-- Needs ending.lua.
-- Let jobs go whose deadline is over (failed) or in which nobody showed an interest (cancelled).
-- ARGV: names (see ending.lua), error of those that expired, most at a time
-- Answers how many there were.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local names = cjson.decode(ARGV[1])

local function let_go(due, state, payload)
  local ids = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, ARGV[3])
  for _, id in ipairs(ids) do
    local was = redis.call('HGET', names.job .. id, 'state')
    if was and not ENDED[was] and was ~= 'cancelling' then leave(names, id, state, payload, now) end
    redis.call('ZREM', due, id)
  end
  return #ids
end

return let_go(names.deadlines, 'failed', ARGV[2]) + let_go(names.interests, 'cancelled', '')
