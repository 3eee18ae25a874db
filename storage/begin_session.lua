-- Needs time.
-- Begin a session of a user who has just signed in, unless the account has changed since it was looked at.
-- KEYS: the session, all sessions of the user, the account
-- Arguments: id, epoch (of the account when it was looked at), fields (names and values), idle_ms, life_ms,
--   prefix (of the keys of the user's sessions), most (sessions of a user: the oldest ones end)
-- Answers 1, or 0 if nothing was begun.
local session, all, account = unpack(KEYS)
local user = read(account, 'role', 'epoch', 'disabled')
if not user.role or user.disabled == '1' or (user.epoch or '') ~= arguments.epoch then return 0 end
local ends = now + arguments.life_ms
redis.call('HSET', session, 'epoch', arguments.epoch, 'began', now_text, 'seen', now_text, 'ends', as_text(ends),
  unpack(arguments.fields))
redis.call('PEXPIRE', session, math.min(arguments.idle_ms, arguments.life_ms))
redis.call('HSET', account, 'signed_in', now_text)
redis.call('ZADD', all, now, arguments.id)
redis.call('PEXPIRE', all, arguments.life_ms)
local excess = redis.call('ZCARD', all) - arguments.most
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', all, 0, excess - 1)) do redis.call('DEL', arguments.prefix .. id) end
  redis.call('ZREMRANGEBYRANK', all, 0, excess - 1)
end
return 1
