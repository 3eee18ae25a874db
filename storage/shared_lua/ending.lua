-- Needs holds.
-- Shared by the scripts that end runs; storage/redis/calls.py puts it before them.
local ENDED = {done = true, failed = true, cancelled = true}
local STAGES = {'queued', 'preprocess', 'inference', 'postprocess'}

local function read(key, ...)
  local found, values = {}, redis.call('HMGET', key, ...)
  for i, name in ipairs({...}) do found[name] = values[i] or nil end
  return found
end

local BUCKETS_MS = {5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000}

local function bucket(ms)
  for _, most in ipairs(BUCKETS_MS) do if ms <= most then return most end end
  return 'inf'
end

-- What ends add to the numbers of a model: gathered while a script ends runs, written once by `book`.
local function new_sums() return {counts = {}, times = {}, paces = {}} end

local function add(sums, kind, model, field, value)
  local of = sums[kind][model] or {}
  of[field] = (of[field] or 0) + value
  sums[kind][model] = of
end

-- A stage's `le` counts what took at most so many ms and more than the bucket before.
local function count(sums, model, state, payload, ms)
  add(sums, 'counts', model, state, 1)
  local code = state == 'failed' and cjson.decode(payload).code
  if code then add(sums, 'counts', model, 'failed:' .. code, 1) end
  for stage, spent in pairs(ms) do
    add(sums, 'times', model, 'ms:' .. stage, spent)
    add(sums, 'counts', model, 'le:' .. stage .. ':' .. bucket(spent), 1)
  end
end

-- Moving means of what a run costs the cpu workers: a stage serves all runs of its message at a time.
-- They begin at zero, as the first runs of fresh workers are no measure.
local function learn(names, sums, was, ms)
  local pace = sums.paces[was.model] or read(names.pace .. was.model, 'preprocess', 'postprocess')
  for _, stage in ipairs({'preprocess', 'postprocess'}) do
    local cost = (ms[stage] or 0) / tonumber(was['with:' .. stage] or 1)
    pace[stage] = (pace[stage] or 0) * 0.9 + cost * 0.1
  end
  sums.paces[was.model] = pace
end

-- Every end counts twice: in its minute, and for ever, as what /metrics shows must never fall.
local function book(names, sums, now)
  for model, counts in pairs(sums.counts) do
    local minute, total = names.stat .. model .. ':' .. math.floor(now / 60000), names.stat .. model .. ':all'
    for _, stat in ipairs({minute, total}) do
      for field, number in pairs(counts) do redis.call('HINCRBY', stat, field, number) end
      for field, spent in pairs(sums.times[model] or {}) do
        redis.call('HINCRBYFLOAT', stat, field, string.format('%.3f', spent))
      end
    end
    redis.call('PEXPIRE', minute, names.stat_ttl)
  end
  for model, pace in pairs(sums.paces) do
    redis.call('HSET', names.pace .. model, 'preprocess', string.format('%.3f', pace.preprocess),
      'postprocess', string.format('%.3f', pace.postprocess))
  end
end

-- The uploads that a job needs: its own, and that of the run it joined.
local function uploads_of(job)
  local found = {}
  for upload in string.gmatch((job.upload or '') .. ' ' .. (job.other_uploads or ''), '%S+') do
    found[#found + 1] = upload
  end
  return found
end

-- All that a job needs, as sets of holds.lua.
local function sets_of(names, job)
  local sets = {names.result_jobs .. (job.result_key or job.request_key)}
  for _, upload in ipairs(uploads_of(job)) do
    sets[#sets + 1] = names.upload_jobs .. job.user .. ':' .. upload
  end
  return sets
end

-- End jobs: done, failed or cancelled, with what their run took. Their number is the run's, as those
-- who joined an earlier attempt must see this as the newest version.
local function end_jobs(names, ids, state, payload, spent, number, now)
  local fields = {'state', state, 'ended', string.format('%.3f', now), 'timings', spent, 'n', number}
  if state == 'done' then fields[#fields + 1], fields[#fields + 2] = 'result', payload end
  if state == 'failed' then fields[#fields + 1], fields[#fields + 2] = 'error', payload end
  local holders, histories = {}, {}
  for _, id in ipairs(ids) do
    local job = names.job .. id
    local was = read(job, 'user', 'request_key', 'result_key', 'upload', 'other_uploads')
    if was.user then  -- its record may have expired
      redis.call('HSET', job, unpack(fields))
      redis.call('PEXPIRE', job, names.job_ttl)
      histories[names.user_jobs .. was.user] = true
      for _, set in ipairs(sets_of(names, was)) do
        holders[set] = holders[set] or {}
        table.insert(holders[set], id)
      end
    end
  end
  for set, of in pairs(holders) do hold_longer(set, of, now, names.job_ttl) end
  for history in pairs(histories) do lengthen(history, names.job_ttl) end
  in_parts('ZREM', names.deadlines, nil, ids)
  in_parts('ZREM', names.interests, nil, ids)
end

-- Each end writes to every job of its run. One script ends so many jobs, unless one run alone has more.
local MOST_ENDED = 50

-- Whether a run may end in a script that has ended so many jobs.
local function has_room(names, key, ended)
  return ended == 0 or ended + redis.call('SCARD', names.run_jobs .. key) <= MOST_ENDED
end

-- End a run that has not ended, and every job that waits for it. One that nobody wants any more is
-- cancelled, whatever came of it. `names` are the prefixes and times of storage/records.py: ending().
-- With `sums`, whoever calls it books them once all runs have ended. Answers how many jobs it ended.
local function end_run(names, key, state, payload, lasting, now, sums)
  local run, jobs = names.run .. key, names.run_jobs .. key
  local was = read(run, 'n', 'stage', 'model', 'priority', 'user', 'unwanted', 'version', 'ms:queued',
    'ms:preprocess', 'ms:inference', 'ms:postprocess', 'at:preprocess', 'at:inference', 'at:postprocess',
    'with:preprocess', 'with:postprocess', 'variant')
  if was.unwanted then state, payload, lasting = 'cancelled', '', '0' end
  local ms = {}
  for _, stage in ipairs(STAGES) do
    if was['ms:' .. stage] then ms[stage] = tonumber(was['ms:' .. stage]) end
  end
  local begun = was['at:' .. was.stage]
  if begun then ms[was.stage] = now - tonumber(begun) end  -- the stage that it ends in
  local spent = cjson.encode(ms)
  local version = tonumber(was.version) + 1
  redis.call('HSET', run, 'state', state, 'progress', 1, 'lease', 0, 'ended', string.format('%.3f', now),
    state == 'done' and 'result' or 'error', payload, 'lasting', lasting, 'timings', spent, 'version', version)
  redis.call('PEXPIRE', run, names.run_ttl)
  local ids = redis.call('SMEMBERS', jobs)
  end_jobs(names, ids, state, payload, spent, was.n, now)
  redis.call('DEL', jobs)
  redis.call('ZREM', names.active, key)
  redis.call('ZREM', names.waiting .. (was.variant or was.model) .. ':' .. was.priority, run)
  redis.call('ZREM', names.user_runs .. (was.user or ''), run)
  redis.call('PUBLISH', names.run_events .. key, '{"state":"' .. state .. '","version":' .. version .. '}')
  local own = sums or new_sums()
  count(own, was.model, state, payload, ms)
  if state == 'done' and ms.inference then learn(names, own, was, ms) end
  if not sums then book(names, own, now) end
  return #ids
end

-- Take a job away from its run, to end as `state`. The run goes on while somebody else waits for it.
-- If nobody does, it ends at once where it only waits, as its number keeps any later stage from
-- starting; while a stage is at it, it is marked, and ends when the worker next speaks of it.
-- Answers the job's state: `state`, or cancelling. `sums` as in end_run.
local function leave(names, id, state, payload, now, sums)
  local job = names.job .. id
  local key = redis.call('HGET', job, 'request_key')
  local run, jobs = names.run .. key, names.run_jobs .. key
  local was = redis.call('HMGET', run, 'n', 'state', 'waiting_since')
  if redis.call('SISMEMBER', jobs, id) == 0 or not was[1] or ENDED[was[2]] then
    end_jobs(names, {id}, state, payload, '{}', was[1] or 0, now)
    return state
  end
  if redis.call('SCARD', jobs) > 1 then
    redis.call('SREM', jobs, id)
    end_jobs(names, {id}, state, payload, '{}', was[1], now)
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', names.run_events .. key, '{"state":"' .. was[2] .. '","version":' .. version .. ',"left":1}')
    return state
  end
  if was[3] ~= '' then
    end_run(names, key, state, payload, '0', now, sums)
    return state
  end
  if state == 'failed' then  -- nobody need wait for the worker to hear that time is over
    redis.call('SREM', jobs, id)
    end_jobs(names, {id}, state, payload, '{}', was[1], now)
  else
    redis.call('HSET', job, 'state', 'cancelling')
  end
  redis.call('HSET', run, 'state', 'cancelling', 'unwanted', 1)
  local version = redis.call('HINCRBY', run, 'version', 1)
  redis.call('PUBLISH', names.run_events .. key, '{"state":"cancelling","version":' .. version .. '}')
  redis.call('PUBLISH', names.unwanted, key .. ':' .. was[1])
  return state == 'failed' and state or 'cancelling'
end
