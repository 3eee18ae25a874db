-- Needs time.
-- Change an account, or make it.
-- KEYS: the account
-- Arguments: fields (name -> value; an empty one is removed), first_ms (how long the new password opens anything
--   unless it is replaced; 0: for ever), must ('exist', 'be_new' or ''),
--   stored (the hash of the password that is replaced; '': whichever it is)
-- Answers 1, or 0 if the account is not as it must be.
local account = unpack(KEYS)
local exists = redis.call('EXISTS', account) == 1
if arguments.must == 'exist' and not exists or arguments.must == 'be_new' and exists then return 0 end
if arguments.stored ~= '' and redis.call('HGET', account, 'password') ~= arguments.stored then return 0 end
if not exists then redis.call('HSET', account, 'created', now_text) end
for name, value in pairs(arguments.fields) do
  if value == '' then redis.call('HDEL', account, name) else redis.call('HSET', account, name, value) end
end
if arguments.fields.password then
  if arguments.first_ms > 0 then redis.call('HSET', account, 'first_until', as_text(now + arguments.first_ms))
  else redis.call('HDEL', account, 'first_until') end
end
return 1
