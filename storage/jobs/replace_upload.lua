-- Needs time, holds.
-- Another web process than the starter's has stored the bytes of a run that is not queued yet: as an
-- upload of its own, since the starter's may be storing its own just now. The run computes from that
-- one, and all who wait for it need it; if the run is stale, queued or ended, only its sender does.
-- Arguments: key, attempt, spec (JSON, of the same work), upload (its id), user, job_id (of the sender)
-- Answers whether the run computes from it now.
local function needs_too(id)
  local left_ms = redis.call('PTTL', JOB .. id)
  if left_ms <= 0 then return end
  local others = redis.call('HGET', JOB .. id, 'other_uploads')
  local uploads = others and others .. ' ' .. arguments.upload or arguments.upload
  redis.call('HSET', JOB .. id, 'other_uploads', uploads)
  hold(UPLOAD_JOBS .. arguments.user .. ':' .. arguments.upload, id, now, left_ms)
end

local run = read(RUN .. arguments.key, 'attempt', 'unqueued', 'state')
if tonumber(run.attempt or 0) ~= arguments.attempt or not run.unqueued or ENDED[run.state] then
  needs_too(arguments.job_id)
  return 0
end
redis.call('HSET', RUN .. arguments.key, 'spec', arguments.spec, 'upload', arguments.upload)
for _, id in ipairs(redis.call('SMEMBERS', RUN_JOBS .. arguments.key)) do needs_too(id) end
return 1
