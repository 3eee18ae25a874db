-- Which jobs need a result or an upload.
-- Each result and each upload has a sorted set of the ids of the jobs that need it. The score is the
-- time in ms at which the record of the job expires. A record expires without telling anybody, so an
-- id whose time has come no longer counts, and some who add to the set remove some of those.
local MOST_REMOVED = 250
local MOST_WORDS = 1000  -- in one command: Lua's unpack has a limit
local SPARE = 9 / 8

-- How long from now on a job is kept: no longer than its result, which is removed `ttl` ms after it was made.
-- `made_s`: 0 or nil if there is none. Whoever waits can read the answer in any case.
local function kept_ms(made_s, now, ttl)
  if (tonumber(made_s) or 0) == 0 then return ttl end
  return math.floor(math.max(math.min(made_s * 1000 + ttl - now, ttl), math.min(ttl, 60000)))
end

-- The uploads that a job needs: its own, and that of the run it joined.
local function uploads_of(job)
  local uploads = {}
  for upload in string.gmatch((job.upload or '') .. ' ' .. (job.other_uploads or ''), '%S+') do
    uploads[#uploads + 1] = upload
  end
  return uploads
end

-- All that a job needs, as sets of these.
local function sets_of(job)
  local sets = {RESULT_JOBS .. (job.result_key or job.request_key)}
  for _, upload in ipairs(uploads_of(job)) do
    sets[#sets + 1] = UPLOAD_JOBS .. job.user .. ':' .. upload
  end
  return sets
end

-- Let a key live for at least `ttl` ms from now on. Most only have to ask: whoever writes gives it an
-- eighth more. Answers how many ms it had (-1: it is new), or nil when it had enough.
local function lengthen(key, ttl)
  local left = redis.call('PTTL', key)
  if left >= ttl then return nil end
  redis.call('PEXPIRE', key, math.ceil(ttl * SPARE))
  return left
end

-- Call a command on `key` with a list of words, in as many calls as it takes.
local function in_parts(command, key, option, words)
  for at = 1, #words, MOST_WORDS do
    local last = math.min(at + MOST_WORDS - 1, #words)
    if option then
      redis.call(command, key, option, unpack(words, at, last))
    else
      redis.call(command, key, unpack(words, at, last))
    end
  end
end

-- Remove ids whose time has come. If too many have, the key gets no more than `ttl` ms, so that the
-- next who adds an id lengthens it again, and goes on here.
local function drop_expired(set, now, ttl)
  local expired = redis.call('ZCOUNT', set, '-inf', string.format('%.3f', now))
  if expired == 0 then return end
  redis.call('ZREMRANGEBYRANK', set, 0, math.min(expired, MOST_REMOVED) - 1)
  if expired > MOST_REMOVED then redis.call('PEXPIRE', set, ttl) end
end

-- A job needs what `set` is of for as long as its record lives: `ttl` ms from now on, until `expires`.
local function hold_until(expires, set, id, now, ttl)
  redis.call('ZADD', set, expires, id)
  if (lengthen(set, ttl) or -1) >= 0 then drop_expired(set, now, ttl) end
end

local function hold(set, id, now, ttl) hold_until(string.format('%.3f', now + ttl), set, id, now, ttl) end

-- The records of these jobs have just been given `ttl` ms more.
local function hold_longer(set, ids, now, ttl)
  local words = {}
  for i, id in ipairs(ids) do words[2 * i - 1], words[2 * i] = now + ttl, id end
  in_parts('ZADD', set, 'XX', words)
  lengthen(set, ttl)
end

-- Whether the record of any job lives that needs what `set` is of.
local function is_held(set, now)
  return redis.call('ZCOUNT', set, string.format('(%.3f', now), '+inf') > 0
end
