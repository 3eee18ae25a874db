-- Give a job its run: hit, failed (remembered), join, lead or busy. Writes the job record as well.
-- KEYS: run, run's jobs, job, lane of the cpu queue, user's jobs, index of active runs
-- ARGV: job id, lease ms, most waiting, job ttl ms, run ttl ms, negative ttl ms, known result or '',
--       spec, queue, lane, model, channel, request key, prefix of lane keys, then the job's fields and values
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local run, jobs, job, lane, history = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, lease, most, job_ttl, run_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local negative_ttl, known, spec, channel = tonumber(ARGV[6]), ARGV[7], ARGV[8], ARGV[12]

local function write_job(...)
  local fields = {'created', stamp}
  for i = 15, #ARGV do fields[#fields + 1] = ARGV[i] end
  for _, value in ipairs({...}) do fields[#fields + 1] = value end
  redis.call('HSET', job, unpack(fields))
  redis.call('PEXPIRE', job, job_ttl)
  redis.call('ZADD', history, now, id)
  redis.call('PEXPIRE', history, job_ttl)
end

if known ~= '' then
  write_job('state', 'done', 'cached', '1', 'result', known)
  return {'hit', 0, known, stamp}
end

local old = redis.call('HMGET', run, 'n', 'state', 'lease', 'result', 'error', 'ended', 'leader', 'lasting',
  'queue', 'lane', 'position')
local n, state, leased = tonumber(old[1] or 0), old[2], tonumber(old[3] or 0)
if state == 'done' then
  write_job('state', 'done', 'cached', '1', 'result', old[4])
  return {'hit', n, old[4], stamp}
end
if state == 'failed' and old[8] == '1' and now - tonumber(old[6]) < negative_ttl then
  write_job('state', 'failed', 'cached', '1', 'error', old[5])
  return {'failed', n, old[5], stamp}
end
-- Waiting is not dying: a run whose turn has not come is alive, however old its lease.
local function is_waiting()
  if not old[9] or not old[11] then return false end
  local started = redis.call('HGET', ARGV[14] .. old[9] .. ':' .. old[10], 'started')
  return tonumber(old[11]) > tonumber(started or 0)
end
local under_way = n > 0 and state ~= 'failed' and state ~= 'cancelled' and (leased > now or is_waiting())
if under_way and old[7] == id then return {'lead', n, spec, stamp} end  -- the same claim, sent twice
if under_way then
  write_job('state', 'queued', 'n', n)
  redis.call('SADD', jobs, id)
  return {'join', n, '', stamp}
end

local marks = redis.call('HMGET', lane, 'next', 'started')
local waiting = tonumber(marks[1] or 0) - tonumber(marks[2] or 0)
if waiting >= most then return {'busy', waiting, '', stamp} end

n = n + 1
local position = redis.call('HINCRBY', lane, 'next', 1)
local kept = redis.call('SMEMBERS', jobs)  -- jobs of a run whose lease ran out go on waiting
redis.call('DEL', run)
redis.call('HSET', run, 'v', 1, 'n', n, 'state', 'queued', 'stage', '', 'progress', 0, 'version', n * 1000,
  'lease', string.format('%.3f', now + lease), 'leader', id, 'spec', spec, 'queue', ARGV[9],
  'lane', ARGV[10], 'model', ARGV[11], 'position', position, 'claimed', stamp, 'waiting_since', stamp)
redis.call('PEXPIRE', run, run_ttl)
redis.call('ZADD', KEYS[6], now, ARGV[13])
write_job('state', 'queued', 'n', n)
redis.call('SADD', jobs, id)
redis.call('PEXPIRE', jobs, run_ttl)
if #kept > 0 then
  redis.call('PUBLISH', channel, '{"state":"queued"}')
end
return {'lead', n, spec, stamp}
