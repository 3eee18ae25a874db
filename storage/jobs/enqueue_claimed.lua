-- Queue the message of runs that were claimed, unless all of them have been sent before or are stale.
-- KEYS: list, then runs   ARGV: text, then one run number per run
local is_due = false
for i = 2, #KEYS do
  local was = redis.call('HMGET', KEYS[i], 'n', 'unsent')
  if was[1] == ARGV[i] and was[2] then
    redis.call('HDEL', KEYS[i], 'unsent')
    is_due = true
  end
end
return is_due and redis.call('LPUSH', KEYS[1], ARGV[1]) or 0
