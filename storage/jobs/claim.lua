-- Needs time, holds, events.
-- Give a job its run, and write the job's record.
-- KEYS: the run, the jobs that wait for it, the job, jobs of the user, runs of the user, the runs that
--   wait as this one would, record of the upload, record of the idempotency key
-- Arguments: version (of the record), job_id, user, model, variant, priority, request_key, params (JSON),
--   weights, model_version (see spec.py), upload (its id), original (`<SHA-256>:<variant>` of its bytes, or ''),
--   name (that the user gave the photo, or ''), degraded (why something lighter computes it, or ''),
--   asked_model (the model that was asked for, where another computes it, or ''),
--   spec (JSON), limits (Limits), known_result (JSON, or ''), known_made_s (when that was
--   made; 0: not known), keep (1 or 0), most_jobs (that are kept of this user),
--   flow (whose share of the workers it uses), charge (its cost, divided by the weight of the flow),
--   preprocess_ms (how long its first stage takes, about, if its bytes are stored already: it goes into the
--   backlog at once; else nil),
--   discards (1 or 0: uploads are deleted when the run ends),
--   idempotency (digest of what is asked for, if there is a key), and in ms: lease, job_ttl, run_ttl,
--   negative_ttl, metrics_ttl, deadline, keep_alive, idempotency_ttl; and those of tickets.lua and quotas.lua
-- Answers {verdict, attempt, payload, Redis time in ms}: see Claim in claims.py. A new run's answer goes on
-- with what is left of each quota.
local run_name, run_jobs, job_name, history, user_runs, waiting, upload_record, idempotency_record = unpack(KEYS)
local id, model, priority = arguments.job_id, arguments.model, arguments.priority
local upload, limits = arguments.upload, arguments.limits
local deadline = now + arguments.deadline_ms
local result_key = arguments.request_key  -- of a run that computes something else by now: another

-- `uploads` are those that the job needs: see holds.lua; `outcome` are fields and values; `made_s`: when its
-- result was made.
local function write_job(uploads, outcome, made_s)
  local fields = {'v', arguments.version, 'id', id, 'user', arguments.user, 'model', model,
    'request_key', arguments.request_key, 'params', arguments.params, 'weights', arguments.weights,
    'priority', priority, 'keep', arguments.keep, 'created', now_text, 'upload', uploads[1] or ''}
  if arguments.degraded ~= '' then fields[#fields + 1], fields[#fields + 2] = 'degraded', arguments.degraded end
  if arguments.asked_model ~= '' then
    fields[#fields + 1], fields[#fields + 2] = 'asked_model', arguments.asked_model
  end
  if arguments.name ~= '' then fields[#fields + 1], fields[#fields + 2] = 'name', arguments.name end
  if uploads[2] then fields[#fields + 1], fields[#fields + 2] = 'other_uploads', uploads[2] end
  if result_key ~= arguments.request_key then fields[#fields + 1], fields[#fields + 2] = 'result_key', result_key end
  for _, word in ipairs(outcome) do fields[#fields + 1] = word end
  redis.call('HSET', job_name, unpack(fields))
  local ttl_ms = kept_ms(made_s, now, arguments.job_ttl_ms)
  local expires = as_text(now + ttl_ms)
  redis.call('PEXPIRE', job_name, ttl_ms)
  hold_until(expires, RESULT_JOBS .. result_key, id, now, ttl_ms)
  for _, needed in ipairs(uploads) do
    hold_until(expires, UPLOAD_JOBS .. arguments.user .. ':' .. needed, id, now, ttl_ms)
  end
  redis.call('ZADD', history, now_text, id)
  if lengthen(history, ttl_ms) then redis.call('ZADD', HISTORIES, 'NX', now + ttl_ms, arguments.user) end
  if redis.call('ZCARD', history) > arguments.most_jobs then redis.call('ZADD', HISTORIES, 'LT', now, arguments.user) end
  if idempotency_record then
    redis.call('HSET', idempotency_record, 'job', id, 'asked', arguments.idempotency)
    redis.call('PEXPIRE', idempotency_record, arguments.idempotency_ttl_ms)
  end
end

-- The upload that was named, else an earlier one of the same bytes; none if nobody has stored them.
local function own_uploads()
  if redis.call('EXISTS', upload_record) == 1 then return {upload} end
  if arguments.original == '' then return {} end
  return {redis.call('GET', UPLOAD_OF .. arguments.user .. ':' .. arguments.original) or nil}
end

-- Beside the runs that metrics.lua counts, in the same minute and for ever.
local function count_hit()
  local minute = METRICS .. model .. ':' .. math.floor(now / 60000)
  if redis.call('HINCRBY', minute, 'hit', 1) == 1 then redis.call('PEXPIRE', minute, arguments.metrics_ttl_ms) end
  redis.call('HINCRBY', METRICS .. model .. ':all', 'hit', 1)
end

local function hit(attempt, result, made_s)
  count_hit()
  if arguments.discards == 1 then
    for _, own in ipairs(own_uploads()) do redis.call('SADD', UNNEEDED_UPLOADS, arguments.user .. ':' .. own) end
  end
  write_job(own_uploads(), {'state', 'done', 'cached', '1', 'result', result}, made_s)
  return {'hit', attempt, result, now_text}
end

if idempotency_record then
  local earlier = read(idempotency_record, 'job', 'asked')
  if earlier.job and earlier.job ~= id and redis.call('EXISTS', JOB .. earlier.job) == 1 then
    return {earlier.asked == arguments.idempotency and 'again' or 'mismatch', 0, earlier.job, now_text}
  end
end
if arguments.known_result ~= '' then return hit(0, arguments.known_result, arguments.known_made_s) end

-- Only here, as a hit need not make these functions.
-- Insert wait.
-- Insert fair.
-- Insert tickets.
-- Insert quotas.

local run = read(run_name, 'attempt', 'state', 'lease', 'result', 'error', 'ended', 'starter', 'lasting', 'queue',
  'priority', 'position', 'respecified', 'unqueued', 'upload', 'cancelled', 'deadline', 'result_key', 'degraded', 'made_s')
local attempt, has_ended = tonumber(run.attempt or 0), ENDED[run.state]
-- What a fallback model made for want of memory is no answer for the next: it may find room. Nor is that
-- of a run that was requeued for other code or weights.
local is_answer = not run.respecified and run.degraded ~= '1'
if is_answer and run.state == 'done' then return hit(attempt, run.result, run.made_s) end
if is_answer and run.state == 'failed' and run.lasting == '1'
    and math.abs(now - tonumber(run.ended)) < arguments.negative_ttl_ms then
  write_job(own_uploads(), {'state', 'failed', 'cached', '1', 'error', run.error})
  return {'failed', attempt, run.error, now_text}
end

-- What a job that joins a run needs: the upload that the run reads, and its own.
local function uploads_with(of_run)
  local own = own_uploads()[1]
  return {of_run, own ~= of_run and own or nil}
end

-- The job waits: for so long at most, and without `keep` only while somebody looks.
local function wait_for_run()
  redis.call('ZADD', DEADLINES, deadline, id)
  if arguments.keep == 0 then redis.call('ZADD', KEEP_ALIVES, now + arguments.keep_alive_ms, id) end
  redis.call('PUBLISH', history, id)
end

-- Waiting is not dying: a run whose turn has not come is alive, however old its lease.
local line = priority .. ':' .. model
local function is_waiting()
  if run.queue == 'cpu' then return redis.call('ZSCORE', BACKLOG .. run.priority .. ':' .. model, run_name) end
  if not run.queue or not run.position then return false end
  local started = redis.call('HGET', POSITIONS .. run.queue .. ':' .. run.priority, 'started')
  return tonumber(run.position) > tonumber(started or 0)
end
local under_way = attempt > 0 and not has_ended and not run.cancelled
  and (tonumber(run.lease or 0) > now or is_waiting())
if under_way and run.starter == id then return {'start', attempt, '', now_text} end  -- the same claim, sent twice

-- In how many ms a run's turn comes, about.
local function wait_of(name)
  local other = read(name, 'priority', 'model', 'variant')
  if not other.priority then return 0 end  -- its record is gone
  local variant = other.variant or other.model
  local score = redis.call('ZSCORE', WAITING .. variant .. ':' .. other.priority, name)
  local _, wait_ms = wait_for('(' .. (score or '0'), variant, other.priority, limits.costs)
  return wait_ms
end

local function busy(refusal) return {'busy', 0, cjson.encode(refusal), now_text} end

if under_way then
  local joined = redis.call('SCARD', run_jobs)
  -- One script writes the result to all of them.
  if joined >= limits.joined and redis.call('SISMEMBER', run_jobs, id) == 0 then
    return busy({limit = 'joined', value = joined, room_in_ms = wait_of(run_name)})
  end
  result_key = run.result_key or result_key
  write_job(uploads_with(run.upload), {'state', 'queued', 'cached', '0', 'attempt', attempt})
  redis.call('SADD', run_jobs, id)
  if deadline > tonumber(run.deadline or 0) then redis.call('HSET', run_name, 'deadline', as_text(deadline)) end
  wait_for_run()
  -- Its starter may have died, and this job's process brings the bytes too: it has as long as a starter for that.
  if run.unqueued then redis.call('HSET', run_name, 'lease', as_text(now + arguments.lease_ms)) end
  return {'join', attempt, run.unqueued and run.upload or '', now_text}
end

local quotas, usage = quotas_of_payer(), used_by_payer()
local SCRATCH_ROOM_MS = 5000  -- that often workers say how full it is

-- How many runs of the model are in progress, and how long all of them take.
local function of_model()
  local count = 0
  for variant in pairs(limits.costs) do
    if model_of(variant) == model then
      count = count + still_in(WAITING .. variant .. ':interactive') + still_in(WAITING .. variant .. ':batch')
    end
  end
  local _, waits_ms = wait_for('+inf', arguments.variant, 'batch', limits.costs)
  return count, waits_ms
end

-- Which limit new work would exceed, where that stands, and in how many ms there will be room; or nil.
-- Only new work is refused: what is known, or under way already, costs nobody anything.
local function refusal()
  local used, most = unpack(limits.scratch)
  used = used + limits.scratch_needed
  if most > 0 and used >= most then
    return {limit = 'scratch', value = used, room_in_ms = SCRATCH_ROOM_MS, most = most}
  end
  local of_user, oldest = still_in(user_runs)
  local in_flight = quotas.jobs_in_flight
  if in_flight > 0 and of_user >= in_flight then
    local room_in_ms = oldest and wait_of(oldest) or 0
    return {limit = 'in_flight', value = of_user, room_in_ms = room_in_ms, most = in_flight}
  end
  local over = exceeded(quotas, usage)
  if over then return over end
  if limits.of_model > 0 then
    local count, waits_ms = of_model()
    if count >= limits.of_model then
      return {limit = 'of_model', value = count, room_in_ms = waits_ms / count, most = limits.of_model}
    end
  end
  local all = 0
  for variant in pairs(limits.costs) do all = all + still_in(WAITING .. variant .. ':' .. priority) end
  if all >= limits.waiting then
    local _, wait_ms = wait_for('+inf', arguments.variant, priority, limits.costs)
    local room_in_ms = wait_ms * (all - limits.waiting + 1) / math.max(all, 1)
    return {limit = 'waiting', value = all, room_in_ms = room_in_ms}
  end
  local tag = as_tag(next_tag(line, arguments.flow))
  local _, wait_ms = wait_for('(' .. tag, arguments.variant, priority, limits.costs)
  if wait_ms > limits.wait_ms then
    return {limit = 'wait_ms', value = wait_ms, room_in_ms = wait_ms - limits.wait_ms}
  end
end

if attempt == 0 or has_ended then  -- else it was admitted before, and its worker is lost
  local refused = refusal()
  if refused then return busy(refused) end
  note_use(usage)
end

-- A job that waited for an earlier attempt waits for this one: for its result, and for the bytes of its
-- upload.
local function wait_on(other)
  local name = JOB .. other
  local left_ms = redis.call('PTTL', name)
  if left_ms <= 0 then return end
  local job = read(name, 'other_uploads', 'result_key')
  if job.result_key then
    redis.call('ZREM', RESULT_JOBS .. job.result_key, other)
    redis.call('HDEL', name, 'result_key')
  end
  redis.call('HSET', name, 'other_uploads', job.other_uploads and job.other_uploads .. ' ' .. upload or upload)
  hold(RESULT_JOBS .. arguments.request_key, other, now, left_ms)
  hold(UPLOAD_JOBS .. arguments.user .. ':' .. upload, other, now, left_ms)
end

attempt = attempt + 1
local are_others = false  -- jobs of a run whose lease ran out go on waiting; those of a cancelled one end
for _, other in ipairs(redis.call('SMEMBERS', run_jobs)) do
  if redis.call('HGET', JOB .. other, 'state') == 'cancelling' then
    redis.call('HSET', JOB .. other, 'state', 'cancelled', 'ended', now_text, 'attempt', attempt)
    redis.call('SREM', run_jobs, other)
  else
    are_others = true
    wait_on(other)
    deadline = math.max(deadline, tonumber(run.deadline or 0))
  end
end
local tag = new_tag(line, arguments.flow, arguments.charge)
if attempt > 1 and run.priority then  -- an earlier attempt may have stopped anywhere
  redis.call('ZREM', BACKLOG .. run.priority .. ':' .. model, run_name)
  leave_model(run_name, {priority = run.priority, model = model, variant = arguments.variant})
end
redis.call('DEL', run_name)
redis.call('HSET', run_name, 'v', arguments.version, 'attempt', attempt, 'state', 'queued', 'stage', '', 'progress', 0,
  'version', attempt * 1000, 'lease', as_text(now + arguments.lease_ms), 'starter', id, 'spec', arguments.spec,
  'upload', upload, 'broker_queue', 'cpu', 'queue', 'cpu', 'priority', priority, 'model', model,
  'model_version', arguments.model_version, 'variant', arguments.variant, 'user', arguments.user,
  'payer', payer, 'flow', arguments.flow,
  'charge', arguments.charge, 'tag', tag, 'claimed', now_text, 'waiting_since', now_text,
  'deadline', as_text(deadline), 'discards', arguments.discards,
  arguments.preprocess_ms and 'preprocess_ms' or 'unqueued', arguments.preprocess_ms or 1)
redis.call('PEXPIRE', run_name, arguments.run_ttl_ms)
redis.call('ZADD', ACTIVE, now, arguments.request_key)
redis.call('ZADD', waiting, tag, run_name)
redis.call('ZADD', user_runs, now, run_name)
redis.call('PEXPIRE', user_runs, arguments.run_ttl_ms)
write_job({upload}, {'state', 'queued', 'cached', '0', 'attempt', attempt, 'payer', payer})
redis.call('SADD', run_jobs, id)
redis.call('PEXPIRE', run_jobs, arguments.run_ttl_ms)
wait_for_run()
if arguments.preprocess_ms then add_to_backlog(run_name, priority, model, tag) end
if are_others then redis.call('PUBLISH', RUN_EVENTS .. arguments.request_key, '{"state":"queued"}') end
return {'start', attempt, '', now_text, unpack(allowances(quotas, usage, redis.call('ZCARD', user_runs)))}
