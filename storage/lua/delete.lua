-- Needs ending.lua.
-- Forget a job: its record, and its run's if no other job of the user is of the same request.
-- ARGV: names (see ending.lua), job id, user, prefix of users' jobs, prefix of the user's uploads
-- Answers nil, or {request key, '1' if nobody else needs its result, upload id or '' if somebody else
-- needs the upload}.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local names, id, user, history = cjson.decode(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] .. ARGV[3]
local job = names.job .. id
local was = redis.call('HMGET', job, 'user', 'state', 'request_key', 'upload')
if was[1] ~= user then return nil end
local key, upload = was[3], was[4]
if not ENDED[was[2]] and was[2] ~= 'cancelling' then leave(names, id, 'cancelled', '', now) end
redis.call('DEL', job)
redis.call('ZREM', history, id)
redis.call('SREM', names.run_jobs .. key, id)
local result_is_free, upload_is_free = true, true
for _, other in ipairs(redis.call('ZRANGE', history, 0, -1)) do
  local its = redis.call('HMGET', names.job .. other, 'request_key', 'upload')
  if its[1] == key then result_is_free = false end
  if its[2] == upload then upload_is_free = false end
end
if result_is_free then
  local run = redis.call('HGET', names.run .. key, 'state')
  if ENDED[run] then
    redis.call('DEL', names.run .. key)
  elseif run then  -- its worker may be storing the result just now: finish.lua
    redis.call('HSET', names.run .. key, 'erase', 1)
  end
end
if upload_is_free then
  local record = ARGV[5] .. upload
  local facts = redis.call('HMGET', record, 'sha256', 'variant')
  if facts[1] and facts[1] ~= '' then redis.call('DEL', names.upload_of .. user .. ':' .. facts[1] .. ':' .. facts[2]) end
  redis.call('DEL', record)
end
return {key, result_is_free and '1' or '0', upload_is_free and upload or ''}
