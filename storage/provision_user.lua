-- Needs time.
-- A user whom an OpenID provider or a proxy names: make the record, or check that it is theirs.
-- KEYS: the account
-- Arguments: kind, subject (what the provider calls the user; ''), role (that the provider gives; '': none),
--   epoch (a new one)
-- Answers {outcome, role, epoch}; outcome is 'ok', 'disabled', or 'taken' by another user of this name.
local account = unpack(KEYS)
local known = read(account, 'kind', 'subject', 'role', 'epoch', 'disabled')
if not known.role then
  local role = arguments.role ~= '' and arguments.role or 'user'
  redis.call('HSET', account, 'kind', arguments.kind, 'subject', arguments.subject, 'role', role,
    'epoch', arguments.epoch, 'created', now_text)
  return {'ok', role, arguments.epoch}
end
local subject = known.subject or ''
if subject == '' then  -- nobody has signed in by this name since an admin said how they do
  subject = arguments.subject
  if known.kind == arguments.kind then redis.call('HSET', account, 'subject', subject) end
end
if known.kind ~= arguments.kind or subject ~= arguments.subject then return {'taken', 'user', ''} end
if known.disabled then return {'disabled', 'user', ''} end
if arguments.role ~= '' and arguments.role ~= known.role then
  redis.call('HSET', account, 'role', arguments.role, 'epoch', arguments.epoch)
  return {'ok', arguments.role, arguments.epoch}
end
return {'ok', known.role, known.epoch or ''}
