-- Needs time.
-- Make an API key, or write one that exists again.
-- KEYS: the key, the keys of its user
-- Arguments: record (its fields), digest (of the key), most (keys of one user)
-- Answers the key's record, or nil if the user has too many.
local key, user_keys = unpack(KEYS)
local record = arguments.record
local is_new = redis.call('HEXISTS', user_keys, record.id) == 0
if is_new and redis.call('HLEN', user_keys) >= arguments.most then return nil end
for name, value in pairs(record) do redis.call('HSET', key, name, value) end
redis.call('HSETNX', key, 'created', string.format('%.0f', now))
redis.call('HSET', user_keys, record.id, arguments.digest)
return redis.call('HGETALL', key)
