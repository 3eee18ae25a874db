-- Needs time.
-- The links of a user that still work, newest first.
-- KEYS: links of the user
-- Answers their records.
local user_shares = unpack(KEYS)
local answers = {}
for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', user_shares, '+inf', '(' .. now_text)) do
  local record = redis.call('HGETALL', SHARE .. id)
  if #record > 0 then answers[#answers + 1] = record end
end
return answers
