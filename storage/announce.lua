-- A worker says that it lives, what it serves, and which models it knows. Entries of others that end
-- later than any may, as the clock was set back, end as if they had been made now.
-- KEYS: worker, index of workers, index of models, last seen
-- ARGV: node, worker JSON, ttl ms, number of things served, those names, then per model: key, name, JSON
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. now + tonumber(ARGV[3]), '+inf')) do
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]), node)
end
local served = tonumber(ARGV[4])
for i = 5, 4 + served do redis.call('HSET', KEYS[4], ARGV[i], now) end
for i = 5 + served, #ARGV, 3 do
  redis.call('SET', ARGV[i], ARGV[i + 2])
  redis.call('SADD', KEYS[3], ARGV[i + 1])
end
return now
