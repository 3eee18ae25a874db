-- Needs wait, holds.
-- Give a job its run: hit, failed (remembered), join, lead or busy. Writes the job record as well.
-- A claim with an idempotency key that was used before answers `again` and the job of then, or
-- `mismatch` if it asked for something else.
-- KEYS: run, run's jobs, job, priority of the cpu line, user's jobs (and their channel), index of active runs, user's runs,
--       idempotency key or '', deadlines of jobs, interests in jobs, runs that wait as this one would,
--       record of the upload, index of histories
-- ARGV: job id, lease ms, limits (JSON), job ttl ms, run ttl ms, negative ttl ms, known result or '',
--       spec, user, priority, model, channel, request key, prefixes of priorities and of waiting runs,
--       deadline ms, interest ms or '', what is asked for (with an idempotency key), its ttl ms, prefix
--       of jobs, prefix of counters, ms that a minute's are kept, variant, prefixes of the jobs that
--       need a result and an upload of the user, id of the upload, then the job's fields and values
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local run, jobs, job, positions, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, lease, job_ttl, run_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4]), ARGV[5]
local negative_ttl, known, spec, channel = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[12]
local priority, model, user_runs, waiting_prefix = ARGV[10], ARGV[11], KEYS[7], ARGV[15]
local idempotency, asked, deadline = KEYS[8], ARGV[18], now + ARGV[16]
local waiting_runs, variant = KEYS[11], ARGV[23]
local result_jobs, upload_jobs, upload = ARGV[24], ARGV[25], ARGV[26]
local result_key = ARGV[13]  -- of a run that was led again for other code or weights: another

-- `uploads` are those that the job needs: see holds.lua; then fields and values beside the claim's.
local function write_job(uploads, ...)
  local fields, last = ARGV, #ARGV  -- made longer: a copy of so many words would cost more than HSET
  for i, value in ipairs({'created', stamp, 'upload', uploads[1] or '', ...}) do fields[last + i] = value end
  if uploads[2] then fields[#fields + 1], fields[#fields + 2] = 'other_uploads', uploads[2] end
  if result_key ~= ARGV[13] then fields[#fields + 1], fields[#fields + 2] = 'result_key', result_key end
  redis.call('HSET', job, unpack(fields, 27))
  redis.call('PEXPIRE', job, ARGV[4])
  local expires = string.format('%.3f', now + job_ttl)
  hold_until(expires, result_jobs .. result_key, id, now, job_ttl)
  for _, needed in ipairs(uploads) do hold_until(expires, upload_jobs .. needed, id, now, job_ttl) end
  redis.call('ZADD', history, stamp, id)
  if lengthen(history, job_ttl) then redis.call('ZADD', KEYS[13], 'NX', now + job_ttl, ARGV[9]) end
  if idempotency ~= '' then
    redis.call('HSET', idempotency, 'job', id, 'asked', asked)
    redis.call('PEXPIRE', idempotency, ARGV[19])
  end
end

-- The upload that was named; none if the request brought bytes that nobody has to read.
local function own_uploads() return redis.call('EXISTS', KEYS[12]) == 1 and {upload} or {} end

-- Beside the runs that ending.lua counts, in the same minute and for ever.
local function count_hit()
  local minute, total = ARGV[21] .. model .. ':' .. math.floor(now / 60000), ARGV[21] .. model .. ':all'
  if redis.call('HINCRBY', minute, 'hit', 1) == 1 then redis.call('PEXPIRE', minute, ARGV[22]) end
  redis.call('HINCRBY', total, 'hit', 1)
end

if idempotency ~= '' then
  local before = redis.call('HMGET', idempotency, 'job', 'asked')
  if before[1] and redis.call('EXISTS', ARGV[20] .. before[1]) == 1 then
    if before[1] ~= id then return {before[2] == asked and 'again' or 'mismatch', 0, before[1], stamp} end
  end
end

if known ~= '' then
  count_hit()
  write_job(own_uploads(), 'state', 'done', 'cached', '1', 'result', known)
  return {'hit', 0, known, stamp}
end

local old = redis.call('HMGET', run, 'n', 'state', 'lease', 'result', 'error', 'ended', 'leader', 'lasting',
  'line', 'priority', 'position', 'moved', 'unsent', 'spec', 'unwanted', 'deadline', 'result_key')
local n, state, leased = tonumber(old[1] or 0), old[2], tonumber(old[3] or 0)
if old[12] and ENDED[state] then state = 'cancelled' end  -- it was led again for other code or weights
-- What a lighter model made for want of memory is no answer for the next: it may find room.
if state == 'done' and string.find(old[4], '"degraded":true', 1, true) then state = 'cancelled' end
if state == 'done' then
  count_hit()
  write_job(own_uploads(), 'state', 'done', 'cached', '1', 'result', old[4])
  return {'hit', n, old[4], stamp}
end
if state == 'failed' and old[8] == '1' and math.abs(now - tonumber(old[6])) < negative_ttl then
  write_job(own_uploads(), 'state', 'failed', 'cached', '1', 'error', old[5])
  return {'failed', n, old[5], stamp}
end
local limits = nil  -- decoded when first needed

-- What a job that joins a run needs: the upload that the run reads, and its own.
local function uploads_with(of_run)
  local own = own_uploads()[1]
  return {of_run, own ~= of_run and own or nil}
end

local function limit(name)
  limits = limits or cjson.decode(ARGV[3])
  return limits[name]
end

-- The job waits: for so long at most, and (interest) only while somebody looks.
local function wait_for_run()
  redis.call('ZADD', KEYS[9], deadline, id)
  if ARGV[17] ~= '' then redis.call('ZADD', KEYS[10], now + ARGV[17], id) end
end

-- Waiting is not dying: a run whose turn has not come is alive, however old its lease.
local function is_waiting()
  if not old[9] or not old[11] then return false end
  local started = redis.call('HGET', ARGV[14] .. old[9] .. ':' .. old[10], 'started')
  return tonumber(old[11]) > tonumber(started or 0)
end
local under_way = n > 0 and not ENDED[state] and not old[15] and (leased > now or is_waiting())
if under_way and old[7] == id then return {'start', n, spec, stamp} end  -- the same claim, sent twice

-- In how many ms a run's turn comes, about.
local function wait_of(waiting)
  local of = redis.call('HMGET', waiting, 'priority', 'model', 'variant')
  if not of[1] then return 0 end  -- its record is gone
  local as = of[3] or of[2]
  local score = redis.call('ZSCORE', waiting_prefix .. as .. ':' .. of[1], waiting)
  local _, wait_ms = line('(' .. (score or '0'), waiting_prefix, as, of[1], limit('costs'))
  return wait_ms
end

local function busy(name, value, room_in_ms, most)
  local found = {limit = name, value = value, room_in_ms = room_in_ms, most = most}
  return {'busy', 0, cjson.encode(found), stamp}
end

if under_way then
  local joined = redis.call('SCARD', jobs)
  -- One script writes the result to all of them.
  if joined >= limit('joined') and redis.call('SISMEMBER', jobs, id) == 0 then
    return busy('joined', joined, wait_of(run))
  end
  local of_run = cjson.decode(old[14]).upload
  result_key = old[17] or result_key
  write_job(uploads_with(of_run), 'state', 'queued', 'cached', '0', 'n', n)
  redis.call('SADD', jobs, id)
  if deadline > tonumber(old[16] or 0) then redis.call('HSET', run, 'deadline', string.format('%.3f', deadline)) end
  wait_for_run()
  redis.call('PUBLISH', history, id)
  return {'join', n, old[13] and of_run or '', stamp}
end

local SCRATCH_ROOM_MS = 5000  -- that often workers say how full it is
-- Only new work is refused: what is known, or under way already, costs nobody anything.
-- Which limit it would exceed, where that stands, and in how many ms there will be room; or nil.
local function refusal()
  local used, most = unpack(limit('scratch'))
  if most > 0 and used >= most then return 'scratch', used, SCRATCH_ROOM_MS, most end
  local mine, oldest = still_in(user_runs)
  if mine >= limit('in_flight') then return 'in_flight', mine, oldest and wait_of(oldest) or 0 end
  local all = 0
  for other in pairs(limit('costs')) do all = all + still_in(waiting_prefix .. other .. ':' .. priority) end
  local _, wait_ms = line('+inf', waiting_prefix, variant, priority, limit('costs'))
  if all >= limit('waiting') then
    return 'waiting', all, wait_ms * (all - limit('waiting') + 1) / math.max(all, 1)
  end
  if wait_ms > limit('wait_ms') then return 'wait_ms', wait_ms, wait_ms - limit('wait_ms') end
end

if n == 0 or ENDED[state] then  -- else it was admitted before, and its worker is lost
  local name, value, room_in_ms, most = refusal()
  if name then return busy(name, value, room_in_ms, most) end
end

n = n + 1
local position = redis.call('HINCRBY', positions, 'next', 1)
-- A job that waited for an earlier attempt waits for this one: for its result, and for the bytes of
-- its upload.
local function wait_on(other)
  local record = ARGV[20] .. other
  local left_ms = redis.call('PTTL', record)
  if left_ms <= 0 then return end
  local was = redis.call('HMGET', record, 'other_uploads', 'result_key')
  if was[2] then
    redis.call('ZREM', result_jobs .. was[2], other)
    redis.call('HDEL', record, 'result_key')
  end
  redis.call('HSET', record, 'other_uploads', was[1] and was[1] .. ' ' .. upload or upload)
  hold(result_jobs .. ARGV[13], other, now, left_ms)
  hold(upload_jobs .. upload, other, now, left_ms)
end

local kept = {}  -- jobs of a run whose lease ran out go on waiting; those of one that ends are cancelled
for _, other in ipairs(redis.call('SMEMBERS', jobs)) do
  if redis.call('HGET', ARGV[20] .. other, 'state') == 'cancelling' then
    redis.call('HSET', ARGV[20] .. other, 'state', 'cancelled', 'ended', stamp, 'n', n)
    redis.call('SREM', jobs, other)
  else
    kept[#kept + 1] = other
    wait_on(other)
    deadline = math.max(deadline, tonumber(old[16] or 0))
  end
end
redis.call('DEL', run)
redis.call('HSET', run, 'v', 1, 'n', n, 'state', 'queued', 'stage', '', 'progress', 0, 'version', n * 1000,
  'lease', string.format('%.3f', now + lease), 'leader', id, 'spec', spec, 'queue', 'cpu', 'line', 'cpu',
  'priority', priority, 'model', model, 'variant', variant, 'user', ARGV[9], 'position', position, 'claimed', stamp,
  'waiting_since', stamp, 'unsent', '1', 'deadline', string.format('%.3f', deadline))
redis.call('PEXPIRE', run, run_ttl)
redis.call('ZADD', KEYS[6], now, ARGV[13])
redis.call('ZADD', waiting_runs, now, run)
redis.call('ZADD', user_runs, now, run)
redis.call('PEXPIRE', user_runs, run_ttl)
write_job({upload}, 'state', 'queued', 'cached', '0', 'n', n)
redis.call('SADD', jobs, id)
redis.call('PEXPIRE', jobs, run_ttl)
wait_for_run()
redis.call('PUBLISH', history, id)
if #kept > 0 then
  redis.call('PUBLISH', channel, '{"state":"queued"}')
end
return {'start', n, spec, stamp}
