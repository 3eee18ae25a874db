-- Another web process than the leader's has stored the bytes of a run that is not queued yet: as an
-- upload of its own, since the leader may be storing its own just now. The run computes from that one.
-- KEYS: run   ARGV: run number, spec of whoever has stored them (the same work)
-- Answers 1, or 0 if the run is stale or queued: then its own upload is there.
local was = redis.call('HMGET', KEYS[1], 'n', 'unsent')
if was[1] ~= ARGV[1] or not was[2] then return 0 end
redis.call('HSET', KEYS[1], 'spec', ARGV[2])
return 1
