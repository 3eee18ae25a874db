-- Needs time, events, holds, metrics, stored.
-- Ends runs and jobs: the one way to do it.
-- Arguments: job_ttl_ms, run_ttl_ms and metrics_ttl_ms, how long their records live.

-- End jobs as {state, payload (JSON of result or error), made_s}, with what their run took. Their attempt is
-- the run's, as those who joined an earlier one must see this as the newest version.
-- `is_discarded`: what they need is to be deleted (forget_uploads.lua).
local function end_jobs(ids, ending, timings, attempt, is_discarded)
  local fields = {'state', ending.state, 'ended', now_text, 'timings', timings, 'attempt', attempt}
  if ending.state == 'done' then fields[#fields + 1], fields[#fields + 2] = 'result', ending.payload end
  if ending.state == 'failed' then fields[#fields + 1], fields[#fields + 2] = 'error', ending.payload end
  local holders, histories, kept_alive = {}, {}, {}
  local ttl_ms = kept_ms(ending.made_s, now, arguments.job_ttl_ms)
  for _, id in ipairs(ids) do
    local job = read(JOB .. id, 'user', 'request_key', 'result_key', 'upload', 'other_uploads', 'keep')
    if job.keep ~= '1' then kept_alive[#kept_alive + 1] = id end
    if job.user then  -- its record may have expired
      redis.call('HSET', JOB .. id, unpack(fields))
      redis.call('PEXPIRE', JOB .. id, ttl_ms)
      histories[USER_JOBS .. job.user] = true
      for _, set in ipairs(sets_of(job)) do
        holders[set] = holders[set] or {}
        table.insert(holders[set], id)
      end
      for _, upload in ipairs(is_discarded and uploads_of(job) or {}) do
        redis.call('SADD', UNNEEDED_UPLOADS, job.user .. ':' .. upload)
      end
    end
  end
  for set, of_set in pairs(holders) do hold_longer(set, of_set, now, ttl_ms) end
  for history in pairs(histories) do lengthen(history, ttl_ms) end
  in_parts('ZREM', DEADLINES, nil, ids)
  in_parts('ZREM', KEEP_ALIVES, nil, kept_alive)
end

-- Each end writes to every job of its run. One script ends so many jobs, unless one run alone has more.
local MOST_ENDED = 50

-- Whether a run may end in a script that has ended so many jobs.
local function has_room(key, ended)
  return ended == 0 or ended + redis.call('SCARD', RUN_JOBS .. key) <= MOST_ENDED
end

-- How long a run was in each stage, the one that it ends in included.
local function times_of(run)
  local spent_ms = {}
  for _, stage in ipairs(TIMED_STAGES) do
    if run['ms:' .. stage] then spent_ms[stage] = tonumber(run['ms:' .. stage]) end
  end
  local began = run['began:' .. run.stage]
  if began then spent_ms[run.stage] = ms_since(began) end
  return spent_ms
end

local CANCELLATION = {state = 'cancelled', payload = ''}

-- What an end has written to the records of jobs, as members of the JSON of its event: who waits for one of
-- them need not read it. Nothing where that would make the event long, as each web process gets it.
local MOST_TOLD = 16
local LONGEST_TOLD = 4096
local function told(ids, ending, timings, attempt)
  if ending.payload == '' or #ids == 0 or #ids > MOST_TOLD or #ending.payload > LONGEST_TOLD then return '' end
  return ',"jobs":["' .. table.concat(ids, '","') .. '"],"ended":"' .. now_text .. '","timings":' .. timings
    .. ',"attempt":"' .. attempt .. '","' .. (ending.state == 'done' and 'result' or 'error') .. '":' .. ending.payload
end

-- The fields of a run that its end needs, and others.
local function read_run(key, ...)
  return read(RUN .. key, 'attempt', 'stage', 'model', 'priority', 'user', 'payer', 'cancelled', 'version', 'ms:queued',
    'ms:preprocess', 'ms:inference', 'ms:postprocess', 'began:preprocess', 'began:inference', 'began:postprocess',
    'runs:preprocess', 'runs:postprocess', 'variant', 'model_version', 'claimed', 'discards', ...)
end

-- End a run that has not ended, and every job that waits for it. One that nobody waits for any more is
-- cancelled, whatever came of it. `ending`: {state, payload (JSON), lasting, degraded, stored_bytes, made_s}.
-- With `sums`, the caller records the metrics once all runs have ended; `run` is what `read_run` has
-- read. Answers how many jobs it ended.
local function end_run(key, ending, sums, run)
  run = run or read_run(key)
  if run.cancelled then ending = CANCELLATION end
  local spent_ms = times_of(run)
  local timings, version = cjson.encode(spent_ms), tonumber(run.version) + 1
  redis.call('HSET', RUN .. key, 'state', ending.state, 'progress', 1, 'lease', 0, 'ended', now_text,
    ending.state == 'done' and 'result' or 'error', ending.payload, 'lasting', ending.lasting and 1 or 0,
    'degraded', ending.degraded and 1 or 0, 'made_s', ending.made_s or 0, 'timings', timings, 'version', version)
  redis.call('PEXPIRE', RUN .. key, arguments.run_ttl_ms)
  local ids = redis.call('SMEMBERS', RUN_JOBS .. key)
  end_jobs(ids, ending, timings, run.attempt, run.discards == '1')
  redis.call('DEL', RUN_JOBS .. key)
  redis.call('ZREM', ACTIVE, key)
  redis.call('ZREM', BACKLOG .. run.priority .. ':' .. run.model, RUN .. key)
  leave_model(RUN .. key, run)
  local payer = run.payer or run.user or ''
  redis.call('ZREM', USER_RUNS .. payer, RUN .. key)
  if (ending.stored_bytes or 0) > 0 and ending.state == 'done' then
    store(payer, ending.stored_bytes, expires_s(ending.made_s * 1000, arguments.job_ttl_ms))
  end
  publish(key, ending.state, version, told(ids, ending, timings, run.attempt))
  local own = sums or new_sums()
  local code = ending.state == 'failed' and cjson.decode(ending.payload).code
  count_end(own, run, ending.state, code, spent_ms)
  if ending.state == 'done' and spent_ms.inference then learn(own, run, spent_ms) end
  if not sums then record_metrics(own) end
  return #ids
end

-- Take a job away from its run, to end as `ending`. The run goes on while another job waits for it. If
-- none does, it ends at once where it only waits, as its attempt keeps any later stage from starting;
-- while a stage is at it, it is marked, and ends when the worker next reports on it.
-- Answers the job's state: that of `ending`, or cancelling. `sums` as in end_run.
local function leave(id, ending, sums)
  local key = redis.call('HGET', JOB .. id, 'request_key')
  local run = read(RUN .. key, 'attempt', 'state', 'waiting_since')
  local function end_this_job() end_jobs({id}, ending, '{}', run.attempt or 0) end
  if redis.call('SISMEMBER', RUN_JOBS .. key, id) == 0 or not run.attempt or ENDED[run.state] then
    end_this_job()
    return ending.state
  end
  if redis.call('SCARD', RUN_JOBS .. key) > 1 then
    redis.call('SREM', RUN_JOBS .. key, id)
    end_this_job()
    publish(key, run.state, redis.call('HINCRBY', RUN .. key, 'version', 1), ',"left":1')
    return ending.state
  end
  if run.waiting_since ~= '' then
    end_run(key, ending, sums)
    return ending.state
  end
  if ending.state == 'failed' then  -- whoever waits need not wait until the worker stops
    redis.call('SREM', RUN_JOBS .. key, id)
    end_this_job()
  else
    redis.call('HSET', JOB .. id, 'state', 'cancelling')
  end
  redis.call('HSET', RUN .. key, 'state', 'cancelling', 'cancelled', 1)
  publish(key, 'cancelling', redis.call('HINCRBY', RUN .. key, 'version', 1))
  redis.call('PUBLISH', CANCELLED, key .. ':' .. run.attempt)
  return ending.state == 'failed' and ending.state or 'cancelling'
end
