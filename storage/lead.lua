-- One process leads at a time: whoever asks gets the lease if it is free or its own.
-- Arguments: name (of the process), ttl_ms
-- Answers 1 for the leader, else 0.
local leader = redis.call('GET', PILOT_LEADER)
if leader and leader ~= arguments.name then return 0 end
redis.call('SET', PILOT_LEADER, arguments.name, 'PX', arguments.ttl_ms)
return 1
