-- All API keys of a user; what no longer exists is taken out of the list.
-- KEYS: the keys of the user
-- Answers their records.
local user_keys = unpack(KEYS)
local answers, ids = {}, redis.call('HGETALL', user_keys)
for at = 1, #ids, 2 do
  local record = redis.call('HGETALL', API_KEY .. ids[at + 1])
  if #record > 0 then answers[#answers + 1] = record else redis.call('HDEL', user_keys, ids[at]) end
end
return answers
