-- Needs time.
-- Remove from the histories of users what has expired, so many entries at a time.
-- An entry whose job still lives stays: a job that waited long outlives others of its age.
-- Arguments: job_ttl_ms, most, pause_ms (until entries that stay are looked at again)
-- Answers how many entries it looked at: `most` or more means that there may be more.
local looked_at = 0

-- The ids among these whose records are gone.
local function gone_of(ids)
  local gone = {}
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', JOB .. id) == 0 then gone[#gone + 1] = id end
  end
  return gone
end

-- Removes at most `most` entries of a history; answers how many it looked at, and when to look again
-- (nil: the history is gone).
local function trimmed(history, most)
  local before = as_text(now - arguments.job_ttl_ms)
  local old = redis.call('ZRANGEBYSCORE', history, '-inf', before, 'LIMIT', 0, most)
  local gone = gone_of(old)
  if #gone > 0 then redis.call('ZREM', history, unpack(gone)) end
  if #old == most and #gone > 0 then return #old, now end
  local oldest = redis.call('ZRANGE', history, 0, 0, 'WITHSCORES')[2]
  return #old, oldest and math.max(oldest + arguments.job_ttl_ms, now + arguments.pause_ms)
end

for _, user in ipairs(redis.call('ZRANGEBYSCORE', HISTORIES, '-inf', now, 'LIMIT', 0, arguments.most)) do
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
