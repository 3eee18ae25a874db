-- Needs ending, fair, tickets.
-- Give runs a new attempt, as if they had just been claimed, and put them into the backlog.
-- Arguments: runs (each {key, attempt, and if it is to compute something else from now on: spec (JSON),
--   request_key, weights, model_version and upload of that}), lease_ms, restart (no worker has died: starts so far count
--   as none, restarts are counted instead; else a worker takes each alone from now on, as it may be what
--   kills them), and those of ending.lua and tickets.lua
-- Answers per run its new attempt; 0 if it is stale, or was cancelled: it ends here.
local lease, answers = as_text(now + arguments.lease_ms), {}

-- The result of a run with a new spec will not be that of its key (claim.lua): its jobs need another.
local function respecify(key, new)
  redis.call('HSET', RUN .. key, 'spec', new.spec, 'upload', new.upload, 'respecified', 1, 'result_key', new.request_key,
    'model_version', new.model_version)
  for _, id in ipairs(redis.call('SMEMBERS', RUN_JOBS .. key)) do
    local job = JOB .. id
    local left_ms = redis.call('PTTL', job)
    if left_ms > 0 then
      redis.call('ZREM', RESULT_JOBS .. (redis.call('HGET', job, 'result_key') or key), id)
      redis.call('HSET', job, 'weights', new.weights, 'result_key', new.request_key)
      hold(RESULT_JOBS .. new.request_key, id, now, left_ms)
    end
  end
end

local function forget_starts(name)
  for _, stage in ipairs(STAGES) do redis.call('HDEL', name, 'starts:' .. stage) end
  redis.call('HINCRBY', name, 'restarts', 1)
end

local function requeue(ref)
  local key, name = ref.key, RUN .. ref.key
  local run = read(name, 'attempt', 'state', 'cancelled', 'priority', 'variant', 'model', 'flow', 'charge')
  if tonumber(run.attempt or 0) ~= ref.attempt or ENDED[run.state] then return 0 end
  if run.cancelled then
    end_run(key, CANCELLATION)
    return 0
  end
  local attempt = ref.attempt + 1
  local line = run.priority .. ':' .. run.model
  local tag = new_tag(line, run.flow or key, tonumber(run.charge or 1))  -- behind what its user has waiting
  redis.call('HSET', name, 'attempt', attempt, 'state', 'queued', 'stage', '', 'progress', 0, 'broker_queue', 'cpu',
    'queue', 'cpu', 'tag', tag, 'waiting_since', now_text, 'lease', lease)
  redis.call('HDEL', name, 'suspect_since', 'unqueued', 'position')
  if arguments.restart then
    forget_starts(name)
  else
    redis.call('HSET', name, 'alone', 1)
  end
  redis.call('ZADD', waiting_set(run), tag, name)
  redis.call('ZREM', TAKEN .. line, name)
  add_to_backlog(name, run.priority, run.model, tag)
  if ref.spec then respecify(key, ref) end
  publish(key, 'queued', redis.call('HINCRBY', name, 'version', 1))
  return attempt
end

for i, ref in ipairs(arguments.runs) do answers[i] = requeue(ref) end
return answers
