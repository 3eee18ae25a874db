-- Needs time.
-- Whether a password may be tried now. A try counts as wrong at once, so that tries at the same time cannot
-- all pass; `forgive` takes a right one back.
-- KEYS: what tries are counted for, such as the account and the address
-- Arguments: free (of each: tries without a wait), first_ms (the first wait, which then doubles), most_ms,
--   keep_ms (after so long without a try, all are forgotten)
-- Answers 0, or in how many ms the next try is allowed.
local wait_ms = 0
for _, key in ipairs(KEYS) do
  local next_try = tonumber(redis.call('HGET', key, 'next') or 0)
  if next_try - now <= arguments.most_ms then wait_ms = math.max(wait_ms, next_try - now) end
end
if wait_ms > 0 then return math.ceil(wait_ms) end
for i, key in ipairs(KEYS) do
  local beyond = redis.call('HINCRBY', key, 'wrong', 1) - arguments.free[i]
  if beyond >= 0 then
    local pause_ms = math.min(arguments.first_ms * 2 ^ beyond, arguments.most_ms)
    redis.call('HSET', key, 'next', as_text(now + pause_ms))
  end
  redis.call('PEXPIRE', key, arguments.keep_ms)
end
return 0
