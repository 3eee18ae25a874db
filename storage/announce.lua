-- Needs time.
-- A worker says that it lives, what it serves, and which models it knows. Entries of others that end
-- later than any may, as the clock was set back, end as if they had been made now.
-- Arguments: node, worker (JSON of a WorkerInfo), ttl_ms, queues, models (name -> JSON of a ModelCard),
--   versions (name -> which version of the model that is)
-- Answers Redis time in ms.
local MOST_WORDS = 96  -- three of each version of a model that is remembered
local now_ms = math.floor(now)
local expires = now_ms + arguments.ttl_ms
redis.call('SET', WORKER .. arguments.node, arguments.worker, 'PX', arguments.ttl_ms)
redis.call('ZADD', WORKERS, expires, arguments.node)
redis.call('ZREMRANGEBYSCORE', WORKERS, '-inf', now_ms)
for _, node in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '(' .. expires, '+inf')) do
  redis.call('ZADD', WORKERS, expires, node)
end
for _, queue in ipairs(arguments.queues) do redis.call('HSET', SEEN, queue, now_ms) end
for name, card in pairs(arguments.models) do
  redis.call('SET', MODEL .. name, card)
  redis.call('SADD', MODELS, name)
  local version, known = arguments.versions[name], MODEL_VERSIONS .. name
  if version then
    -- Those that live are written again within seconds.
    if redis.call('HLEN', known) > MOST_WORDS then redis.call('DEL', known) end
    redis.call('HSETNX', known, 'since:' .. version, now_ms)
    redis.call('HSET', known, version, card, 'seen:' .. version, now_ms)
  end
end
return now_ms
