-- Needs time, holds.
-- Remove from the histories of users what has expired and what is too much, so many entries at a time.
-- An entry whose job still lives stays, though it is old: a job that waited long outlives others of its age.
-- Arguments: job_ttl_ms, most_jobs (that are kept of a user), is_full (1: jobs that have ended go, the oldest
--   first, though they are not many), least_kept_ms (no job leaves sooner after its end, so that whoever asked
--   for it can read the answer), most, pause_ms (until entries that stay are looked at again)
-- Answers how many entries it looked at: `most` or more means that there may be more.
local looked_at = 0

-- Forget a job that ended a while ago; answers whether there is none any more.
local function forget(id)
  local job = read(JOB .. id, 'user', 'state', 'created', 'ended', 'request_key', 'result_key', 'upload',
    'other_uploads')
  if job.user and not ENDED[job.state] then return false end
  if job.user and ms_since(job.ended or job.created) < arguments.least_kept_ms then return false end
  if job.user then
    for _, set in ipairs(sets_of(job)) do redis.call('ZREM', set, id) end
    redis.call('DEL', JOB .. id)
  end
  return true
end

-- The first `excess` of these jobs that can go, and others whose records are gone.
local function gone_of(ids, excess)
  local gone = {}
  for i, id in ipairs(ids) do
    if i <= excess and forget(id) or redis.call('EXISTS', JOB .. id) == 0 then gone[#gone + 1] = id end
  end
  return gone
end

-- The oldest entries of a history: those that may have expired, and those that are too many.
local function oldest_of(history, excess, most)
  local old = redis.call('ZCOUNT', history, '-inf', as_text(now - arguments.job_ttl_ms))
  return redis.call('ZRANGE', history, 0, math.min(math.max(old, excess), most) - 1)
end

-- Removes at most `most` entries of a history; answers how many it looked at, and when to look again
-- (nil: the history is gone).
local function trimmed(history, most)
  local excess = redis.call('ZCARD', history) - arguments.most_jobs
  if arguments.is_full == 1 then
    excess = math.max(excess, redis.call('ZCOUNT', history, '-inf', as_text(now - arguments.least_kept_ms)))
  end
  local oldest = most > 0 and oldest_of(history, excess, most) or {}
  local gone = gone_of(oldest, excess)
  if #gone > 0 then redis.call('ZREM', history, unpack(gone)) end
  if #oldest == most and #gone > 0 then return #oldest, now end
  local next_oldest = redis.call('ZRANGE', history, 0, 0, 'WITHSCORES')[2]
  local due = excess > #gone and now or next_oldest and next_oldest + arguments.job_ttl_ms
  return #oldest, next_oldest and math.max(due, now + arguments.pause_ms)
end

local until_ms = arguments.is_full == 1 and '+inf' or now
for _, user in ipairs(redis.call('ZRANGEBYSCORE', HISTORIES, '-inf', until_ms, 'LIMIT', 0, arguments.most)) do
  if looked_at >= arguments.most then break end
  local count, again = trimmed(USER_JOBS .. user, arguments.most - looked_at)
  looked_at = looked_at + math.max(count, 1)
  if again then
    redis.call('ZADD', HISTORIES, again, user)
  else
    redis.call('ZREM', HISTORIES, user)
  end
end
return looked_at
