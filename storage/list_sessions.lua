-- The sessions of a user that count, newest first; entries of others are removed.
-- KEYS: all sessions of the user, the account
-- Arguments: prefix (of the keys of the user's sessions)
-- Answers {id, began, seen, ends, kind, network, agent} for each.
local all, account = unpack(KEYS)
local epoch = redis.call('HGET', account, 'epoch') or ''
local sessions = {}
for _, id in ipairs(redis.call('ZREVRANGE', all, 0, -1)) do
  local known = read(arguments.prefix .. id, 'epoch', 'began', 'seen', 'ends', 'kind', 'network', 'agent')
  if known.epoch == epoch then
    sessions[#sessions + 1] = {id, known.began, known.seen, known.ends, known.kind, known.network, known.agent}
  else
    redis.call('DEL', arguments.prefix .. id)
    redis.call('ZREM', all, id)
  end
end
return sessions
