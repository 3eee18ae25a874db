-- Needs time.
-- Everything that live workers can do, in one answer.
-- Answers {Redis time in ms, JSON of each live worker, {JSON, mean ms of each of CPU_STAGES, its
-- versions} of each model, queues and when each was last seen, what the pilot has
-- ordered}.
local now_ms = math.floor(now)
local workers, models = {}, {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', WORKERS, '(' .. now_ms, '+inf')) do
  local worker = redis.call('GET', WORKER .. node)
  if worker then workers[#workers + 1] = worker end
end
for _, name in ipairs(redis.call('SMEMBERS', MODELS)) do
  local card = redis.call('GET', MODEL .. name)
  if card then models[#models + 1] = {card, redis.call('HMGET', MEAN_STAGE_MS .. name, unpack(CPU_STAGES)),
    redis.call('HGETALL', MODEL_VERSIONS .. name)} end
end
return {now_ms, workers, models, redis.call('HGETALL', SEEN), redis.call('HGETALL', PILOT)}
