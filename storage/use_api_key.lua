-- Needs time.
-- Look up an API key that a request has brought, and note that it was used.
-- KEYS: the key
-- Arguments: every_ms (how often its last use is written)
-- Answers its record with the role of its account; nil if it is unknown, has expired, or its account
-- is disabled.
local key = unpack(KEYS)
local record = read(key, 'user', 'expires', 'used')
if not record.user then return nil end
local expires = tonumber(record.expires)
if expires > 0 and expires <= now then return nil end
local account = read(USER .. record.user, 'role', 'disabled')
if account.disabled and account.disabled ~= '' then return nil end
if math.abs(now - tonumber(record.used or 0)) >= arguments.every_ms then
  redis.call('HSET', key, 'used', string.format('%.0f', now))
end
local answer = redis.call('HGETALL', key)
answer[#answer + 1], answer[#answer + 2] = 'role', account.role or 'user'
return answer
