-- Needs holds.
-- Another web process than the leader's has stored the bytes of a run that is not queued yet: as an
-- upload of its own, since the leader may be storing its own just now. The run computes from that one,
-- and all who wait for it need it; if the run is stale, queued or ended, only who brought it does.
-- KEYS: run, run's jobs
-- ARGV: JSON {n, spec (of whoever has stored them: the same work), upload (its id), id (of its job),
--       job (prefix of jobs), upload_jobs (prefix of the jobs that need an upload of the user)}
-- Answers whether the run computes from it now.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local ENDED = {done = true, failed = true, cancelled = true}

local function needs_too(id)
  local record = asked.job .. id
  local left_ms = redis.call('PTTL', record)
  if left_ms <= 0 then return end
  local others = redis.call('HGET', record, 'other_uploads')
  redis.call('HSET', record, 'other_uploads', others and others .. ' ' .. asked.upload or asked.upload)
  hold(asked.upload_jobs .. asked.upload, id, now, left_ms)
end

local was = redis.call('HMGET', KEYS[1], 'n', 'unsent', 'state')
if tonumber(was[1] or 0) ~= asked.n or not was[2] or ENDED[was[3]] then
  needs_too(asked.id)
  return 0
end
redis.call('HSET', KEYS[1], 'spec', asked.spec)
for _, id in ipairs(redis.call('SMEMBERS', KEYS[2])) do needs_too(id) end
return 1
