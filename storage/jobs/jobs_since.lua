-- Needs time.
-- A user's newest jobs since a time.
-- KEYS: jobs of the user
-- Arguments: since_ms, most
-- Answers Redis time in ms, then the ids.
local history = unpack(KEYS)
local newest = redis.call('ZREVRANGEBYSCORE', history, '+inf', arguments.since_ms, 'LIMIT', 0, arguments.most)
return {now_text, unpack(newest)}
