-- The password was right: its try was none, and the account's earlier wrong ones are forgotten.
-- KEYS: what `allow_try` has counted it for; of these, the first is the account's
local account = unpack(KEYS)
redis.call('DEL', account)
for i = 2, #KEYS do
  if tonumber(redis.call('HGET', KEYS[i], 'wrong') or 0) > 0 then
    redis.call('HINCRBY', KEYS[i], 'wrong', -1)
    redis.call('HDEL', KEYS[i], 'next')
  end
end
return 1
