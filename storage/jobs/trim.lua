-- Remove from the histories of users what has expired, so many entries at a time.
-- An entry whose job still lives stays: a job that waited long outlives others of its age.
-- KEYS: index of histories (users by when their oldest entry is due)
-- ARGV: JSON {user_jobs, job (prefixes), job_ttl (ms), most, pause_ms (until a look at entries that stay)}
-- Answers how many entries it looked at: `most` or more means that there may be more.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local looked = 0

-- The ids among these whose records are gone.
local function gone_of(ids)
  local gone = {}
  for _, id in ipairs(ids) do
    if redis.call('EXISTS', asked.job .. id) == 0 then gone[#gone + 1] = id end
  end
  return gone
end

-- Removes at most `most` entries of a history; answers how many it looked at, and when to look again
-- (nil: the history is gone).
local function trimmed(history, most)
  local before = string.format('%.3f', now - asked.job_ttl)
  local old = redis.call('ZRANGEBYSCORE', history, '-inf', before, 'LIMIT', 0, most)
  local gone = gone_of(old)
  if #gone > 0 then redis.call('ZREM', history, unpack(gone)) end
  if #old == most and #gone > 0 then return #old, now end
  local oldest = redis.call('ZRANGE', history, 0, 0, 'WITHSCORES')[2]
  return #old, oldest and math.max(oldest + asked.job_ttl, now + asked.pause_ms)
end

for _, user in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, asked.most)) do
  if looked >= asked.most then break end
  local seen, again = trimmed(asked.user_jobs .. user, asked.most - looked)
  looked = looked + math.max(seen, 1)
  if again then
    redis.call('ZADD', KEYS[1], again, user)
  else
    redis.call('ZREM', KEYS[1], user)
  end
end
return looked
