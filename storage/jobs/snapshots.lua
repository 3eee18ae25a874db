-- Needs time, wait.
-- Jobs and, while they are under way, what their runs do now and what they wait for.
-- KEYS: jobs
-- Arguments: costs (JSON, of each variant: see snapshots.py), keep_alive_ms (how long a look at a job
--   keeps it alive)
-- Answers JSON, as a client reads that much faster than lists of words: `at`, Redis time in ms; `jobs`,
-- each false or the fields of Snapshot in snapshots.py
local costs  -- decoded when first needed
local function since(key, field, never) return ms_since(redis.call('HGET', key, field) or never) end

-- Runs ahead, the ms that they take, and the ms that the model has been at its present batch.
local function wait_of(name, run)
  local variant = run.variant or run.model
  local waiting = WAITING .. variant .. ':' .. run.priority
  local score = redis.call('ZSCORE', waiting, name)
  if not score then return -1, 0, 0 end
  costs = costs or cjson.decode(arguments.costs)
  local ahead, wait_ms = wait_for('(' .. score, variant, run.priority, costs[variant] or costs[run.model] or {})
  local _, oldest = still_in(waiting)
  return ahead, wait_ms, math.min(since(oldest, 'began:inference', now), since(MEAN_STAGE_MS .. run.model, 'inferred', 0))
end

local function snapshot(name)
  local words, job = redis.call('HGETALL', name), {}
  if #words == 0 then return false end
  for i = 1, #words, 2 do job[words[i]] = words[i + 1] end
  if ENDED[job.state] then return {fields = job} end
  if job.keep == '0' then redis.call('ZADD', KEEP_ALIVES, 'XX', now + arguments.keep_alive_ms, job.id) end
  local key = RUN .. job.request_key
  local run = read(key, 'attempt', 'state', 'stage', 'progress', 'version', 'waiting_since', 'priority', 'model', 'variant',
    'slices')
  if not run.attempt then return {fields = job} end
  local ahead, wait_ms, busy_ms = wait_of(key, run)
  local stage_ms = run.waiting_since ~= '' and -1 or since(key, 'began:' .. run.stage, now)
  return {fields = job, run = run, ahead = ahead, wait_ms = wait_ms, busy_ms = busy_ms, stage_ms = stage_ms}
end

local jobs = {}
for i, name in ipairs(KEYS) do jobs[i] = snapshot(name) end
-- As text: numbers have 14 digits in cjson, too few for a time.
return cjson.encode({at = now_text, jobs = jobs})
