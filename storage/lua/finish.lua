-- End runs, done or failed, and every job that waits for them. Only with the current run number.
-- KEYS: index of active runs, then run, run's jobs, channel per run
-- ARGV: prefixes of stats, jobs, waiting runs, users' runs and paces, run ttl ms, job ttl ms, stat ttl
--       ms, then per run: request key, number, state, result or error, lasting ('1': a deterministic error)
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local stat_prefix, job_prefix, waiting_prefix, user_runs_prefix, pace_prefix = unpack(ARGV, 1, 5)
local run_ttl, job_ttl, stat_ttl = unpack(ARGV, 6, 8)
local answers = {}

local STAGES = {'queued', 'preprocess', 'inference', 'postprocess'}

local function timings(run)
  local found = {}
  for i, ms in ipairs(redis.call('HMGET', run, 'ms:queued', 'ms:preprocess', 'ms:inference', 'ms:postprocess')) do
    if ms then found[STAGES[i]] = tonumber(ms) end
  end
  return found
end

local function count(model, state, ms)
  local stat = stat_prefix .. model .. ':' .. math.floor(now / 60000)
  redis.call('HINCRBY', stat, state, 1)
  for stage, spent in pairs(ms) do redis.call('HINCRBYFLOAT', stat, 'ms:' .. stage, string.format('%.3f', spent)) end
  redis.call('PEXPIRE', stat, stat_ttl)
end

-- Moving means of what a run costs the cpu workers: a stage serves all runs of its message at a time.
local function learn(model, run, ms)
  local pace = pace_prefix .. model
  local with = redis.call('HMGET', run, 'with:preprocess', 'with:postprocess')
  local known = redis.call('HMGET', pace, 'preprocess', 'postprocess')
  for i, stage in ipairs({'preprocess', 'postprocess'}) do
    local cost = (ms[stage] or 0) / tonumber(with[i] or 1)
    local mean = known[i] and known[i] * 0.9 + cost * 0.1 or cost
    redis.call('HSET', pace, stage, string.format('%.3f', mean))
  end
end

for i = 1, (#KEYS - 1) / 3 do
  local run, jobs, channel = KEYS[3 * i - 1], KEYS[3 * i], KEYS[3 * i + 1]
  local name, number, state = ARGV[5 * i + 4], ARGV[5 * i + 5], ARGV[5 * i + 6]
  local payload, lasting = ARGV[5 * i + 7], ARGV[5 * i + 8]
  local was = redis.call('HMGET', run, 'n', 'state', 'stage', 'model', 'lane', 'user')
  if was[1] ~= number or was[2] == 'done' or was[2] == 'failed' or was[2] == 'cancelled' then
    answers[i] = 0
  else
    local stage, ms = was[3], timings(run)
    local at = redis.call('HGET', run, 'at:' .. stage)
    if at then ms[stage] = now - tonumber(at) end
    local spent = cjson.encode(ms)
    local field = state == 'done' and 'result' or 'error'
    redis.call('HSET', run, 'state', state, 'progress', 1, 'lease', 0, 'ended', stamp, field, payload,
      'lasting', lasting, 'timings', spent)
    redis.call('PEXPIRE', run, run_ttl)
    for _, id in ipairs(redis.call('SMEMBERS', jobs)) do
      local job = job_prefix .. id
      if redis.call('EXISTS', job) == 1 then
        -- The number as well: jobs of an earlier attempt must see this as the newest version.
        redis.call('HSET', job, 'state', state, field, payload, 'timings', spent, 'ended', stamp, 'n', number)
        redis.call('PEXPIRE', job, job_ttl)
      end
    end
    redis.call('DEL', jobs)
    redis.call('ZREM', KEYS[1], name)
    redis.call('ZREM', waiting_prefix .. was[4] .. ':' .. was[5], run)
    redis.call('ZREM', user_runs_prefix .. (was[6] or ''), run)
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', channel, '{"state":"' .. state .. '","version":' .. version .. '}')
    count(was[4], state, ms)
    if state == 'done' and ms.inference then learn(was[4], run, ms) end
    answers[i] = 1
  end
end
return answers
