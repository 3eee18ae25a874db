-- Needs time.
-- Whether a session still counts, and whose role it has: it ends with its time, with the account or its epoch, and
-- with the mode of the installation.
-- KEYS: the session, the account
-- Arguments: mode, idle_ms, note_ms (how often it is noted that the session is used)
-- Answers {how the user has signed in, role}, or {} if the session does not count.
local session, account = unpack(KEYS)
local known = read(session, 'kind', 'mode', 'epoch', 'seen', 'ends')
if not known.kind then return {} end
local user = read(account, 'epoch', 'disabled', 'role')
local left_ms = tonumber(known.ends) - now
if left_ms <= 0 or not user.role or user.disabled == '1' or (user.epoch or '') ~= known.epoch or known.mode ~= arguments.mode then
  redis.call('DEL', session)
  return {}
end
if math.abs(now - tonumber(known.seen)) >= arguments.note_ms then
  redis.call('HSET', session, 'seen', now_text)
  redis.call('PEXPIRE', session, math.floor(math.min(arguments.idle_ms, left_ms)) + 1)
end
return {known.kind, user.role}
