-- One process erases at a time: whoever asks gets the lock if it is free or its own, and lets go of its own.
-- Arguments: name (of the process), ttl_ms (0: lets go)
-- Answers 1 if the lock is its own or free now, else 0.
local holder = redis.call('GET', ERASURE_LOCK)
if holder and holder ~= arguments.name then return 0 end
if arguments.ttl_ms > 0 then
  redis.call('SET', ERASURE_LOCK, arguments.name, 'PX', arguments.ttl_ms)
else
  redis.call('DEL', ERASURE_LOCK)
end
return 1
