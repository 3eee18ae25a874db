-- Note an event of a session, unless it has too many. Returns 1 if it was noted, else 0.
-- KEYS: events of the session
-- Arguments: event_id, event, most, ttl_s
local events = unpack(KEYS)
if redis.call('HLEN', events) >= arguments.most then return 0 end
redis.call('HSET', events, arguments.event_id, arguments.event)
redis.call('EXPIRE', events, arguments.ttl_s)
return 1
