-- Queue the message of runs that were claimed, unless all of them were queued before or are stale.
-- KEYS: the list of the message
-- Arguments: message, runs (each {key, attempt})
-- Answers how many messages the list has now; 0 if this one was not queued.
local list = unpack(KEYS)
local is_due = false
for _, ref in ipairs(arguments.runs) do
  local run = read(RUN .. ref.key, 'attempt', 'unqueued')
  if tonumber(run.attempt or 0) == ref.attempt and run.unqueued then
    redis.call('HDEL', RUN .. ref.key, 'unqueued')
    is_due = true
  end
end
return is_due and redis.call('LPUSH', list, arguments.message) or 0
