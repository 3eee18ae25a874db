-- End an API key of a user.
-- KEYS: the keys of the user
-- Arguments: id (of the key)
-- Answers 1, or 0 if the user has no such key.
local user_keys = unpack(KEYS)
local digest = redis.call('HGET', user_keys, arguments.id)
if not digest then return 0 end
redis.call('HDEL', user_keys, arguments.id)
return redis.call('DEL', API_KEY .. digest)
