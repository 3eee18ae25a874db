-- Shared by the scripts that make, end and delete jobs: which jobs need a result or an upload.
-- Each result and each upload has a sorted set of the ids of the jobs that need it. The score is the
-- time in ms at which the record of the job expires. A record expires without telling anybody, so an
-- id whose time has come no longer counts, and whoever adds to the set removes some of those.
local MOST_REMOVED = 1000
local MOST_WORDS = 1000  -- in one command: Lua's unpack has a limit

-- Let a key live for at least `ttl` ms from now on.
local function lengthen(key, ttl)
  if redis.call('PEXPIRE', key, ttl, 'GT') == 0 then redis.call('PEXPIRE', key, ttl, 'NX') end
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

-- A job needs what `set` is of for as long as its record lives: `ttl` ms from now on.
local function hold(set, id, now, ttl)
  redis.call('ZADD', set, now + ttl, id)
  lengthen(set, ttl)
  local expired = redis.call('ZCOUNT', set, '-inf', string.format('%.3f', now))
  if expired > 0 then redis.call('ZREMRANGEBYRANK', set, 0, math.min(expired, MOST_REMOVED) - 1) end
end

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
