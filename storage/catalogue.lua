-- Everything that live workers can do, in one answer.
-- KEYS: index of workers, index of models, last seen   ARGV: prefixes of workers, models and paces
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local workers, models = {}, {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do
  local found = redis.call('GET', ARGV[1] .. node)
  if found then workers[#workers + 1] = found end
end
for _, name in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local found = redis.call('GET', ARGV[2] .. name)
  if found then models[#models + 1] = {found, redis.call('HMGET', ARGV[3] .. name, 'preprocess', 'postprocess')} end
end
return {now, workers, models, redis.call('HGETALL', KEYS[3])}
