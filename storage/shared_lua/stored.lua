-- Needs time.
-- How many bytes a payer has in S3, by the second at which they expire: objects disappear without
-- telling anybody.

-- The second at which what is stored for `ttl_ms` from `made_ms` on counts as expired: rounded to a part of
-- its life, so that a payer has few of them.
local function expires_s(made_ms, ttl_ms)
  local grain = math.max(math.ceil(ttl_ms / 1000 / STORED_GRAINS), 1)
  return math.ceil((made_ms + ttl_ms) / 1000 / grain) * grain
end

-- Count bytes of a payer that are stored until then; fewer than none, if they are deleted before.
local function store(of, bytes, expires)
  local key = STORED .. of
  if bytes < 0 and redis.call('HEXISTS', key, expires) == 0 then return end
  if redis.call('HINCRBY', key, expires, bytes) <= 0 then redis.call('HDEL', key, expires) end
  local left = expires * 1000 - now
  if redis.call('PTTL', key) < left then redis.call('PEXPIRE', key, math.ceil(left)) end
end
