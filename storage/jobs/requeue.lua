-- Needs ending.
-- Give runs a new number, as if they had just been claimed; the caller queues them. Stale ones get 0,
-- and so do those that nobody wants any more: they end.
-- ARGV: JSON {names (see ending.lua), lease_ms, restart (no worker was lost: its starts count no more,
-- restarts are counted instead), runs (each {key, n, spec (a new one, JSON) or ''})}
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local names = asked.names
local stamp, leased = string.format('%.3f', now), string.format('%.3f', now + asked.lease_ms)

-- The result of a run with a new spec will not be that of its key (claim.lua): its jobs need another.
local function move(key, run, spec)
  local new = cjson.decode(spec)
  redis.call('HSET', run, 'spec', spec, 'moved', 1, 'result_key', new.request_key)
  for _, id in ipairs(redis.call('SMEMBERS', names.run_jobs .. key)) do
    local job = names.job .. id
    local left_ms = redis.call('PTTL', job)
    if left_ms > 0 then
      redis.call('ZREM', names.result_jobs .. (redis.call('HGET', job, 'result_key') or key), id)
      redis.call('HSET', job, 'weights', new.weights, 'result_key', new.request_key)
      hold(names.result_jobs .. new.request_key, id, now, left_ms)
    end
  end
end

local function lead(key, spec)
  local run = names.run .. key
  local was = read(run, 'n', 'priority', 'variant', 'model')
  local number = tonumber(was.n) + 1
  local position = redis.call('HINCRBY', names.positions .. 'cpu:' .. was.priority, 'next', 1)
  redis.call('HSET', run, 'n', number, 'state', 'queued', 'stage', '', 'progress', 0, 'queue', 'cpu',
    'line', 'cpu', 'position', position, 'waiting_since', stamp, 'lease', leased)
  redis.call('HDEL', run, 'suspect_since', 'unsent')
  if asked.restart then
    redis.call('HDEL', run, 'deliveries:preprocess', 'deliveries:inference', 'deliveries:postprocess')
    redis.call('HINCRBY', run, 'restarts', 1)
  end
  redis.call('ZADD', names.waiting .. (was.variant or was.model) .. ':' .. was.priority, now, run)  -- behind those who wait now
  if spec ~= '' then move(key, run, spec) end
  local version = redis.call('HINCRBY', run, 'version', 1)
  redis.call('PUBLISH', names.run_events .. key, '{"state":"queued","version":' .. version .. '}')
  return number
end

local numbers = {}
for i, wanted in ipairs(asked.runs) do
  local was = read(names.run .. wanted.key, 'n', 'state', 'unwanted')
  if tonumber(was.n or 0) ~= wanted.n or ENDED[was.state] then
    numbers[i] = 0
  elseif was.unwanted then
    end_run(names, wanted.key, 'cancelled', '', '0', now)
    numbers[i] = 0
  else
    numbers[i] = lead(wanted.key, wanted.spec)
  end
end
return numbers
