-- Needs time.
-- A worker says that it lives, what it serves, and which models it knows. Entries of others that end
-- later than any may, as the clock was set back, end as if they had been made now.
-- Arguments: node, worker (JSON of a WorkerInfo), ttl_ms, queues, models (name -> JSON of a ModelCard),
--   versions (name -> which version of the model that is), forgotten_ms (a queue that no worker has taken work
--   from for so long is as good as one that never was)
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

local function fields_of(key)
  local words, fields = redis.call('HGETALL', key), {}
  for i = 1, #words, 2 do fields[words[i]] = words[i + 1] end
  return fields
end

-- What was counted of versions that are gone (see metrics.lua) must not pile up either. It is kept together,
-- as `<field>@`: what was counted of all versions stays the sum of its parts.
local function forget_old_counts(model, known)
  local kept, all = {[arguments.versions[model]] = true}, METRICS .. model .. ':all'
  for word, value in pairs(fields_of(known)) do
    local version = string.match(word, '^seen:(.*)')
    if version and math.abs(now_ms - tonumber(value)) <= arguments.forgotten_ms then kept[version] = true end
  end
  for field, count in pairs(fields_of(all)) do
    local counted, version = string.match(field, '^(.*@)(.+)$')
    if version and not kept[version] then
      redis.call('HINCRBY', all, counted, count)
      redis.call('HDEL', all, field)
    end
  end
end

-- Each version of a model has a queue of its own: those of versions that are gone must not pile up.
local function forget_old_queues()
  for queue, seen_ms in pairs(fields_of(SEEN)) do
    if math.abs(now_ms - tonumber(seen_ms)) > arguments.forgotten_ms then redis.call('HDEL', SEEN, queue) end
  end
end

local is_any_new = false
for _, queue in ipairs(arguments.queues) do
  if redis.call('HSET', SEEN, queue, now_ms) == 1 then is_any_new = true end
end
if is_any_new then forget_old_queues() end
for name, card in pairs(arguments.models) do
  redis.call('SET', MODEL .. name, card)
  redis.call('SADD', MODELS, name)
  local version, known = arguments.versions[name], MODEL_VERSIONS .. name
  if version then
    -- Those that live are written again within seconds.
    if redis.call('HLEN', known) > MOST_WORDS then
      forget_old_counts(name, known)
      redis.call('DEL', known)
    end
    redis.call('HSETNX', known, 'since:' .. version, now_ms)
    redis.call('HSET', known, version, card, 'seen:' .. version, now_ms)
  end
end
return now_ms
