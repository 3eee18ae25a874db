-- Redis time in ms, then the ids of a user's newest jobs since another time.
-- KEYS: user's jobs   ARGV: that time in ms, how many at most
local t = redis.call('TIME')
local now = string.format('%.3f', t[1] * 1000 + t[2] / 1000)
return {now, unpack(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', ARGV[1], 'LIMIT', 0, ARGV[2]))}
