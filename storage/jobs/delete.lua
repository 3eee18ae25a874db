-- Needs ending.
-- Forget a job: its record, and its run's and its uploads' if no other job of the user needs them.
-- It costs the same however many jobs the user has: see holds.lua.
-- ARGV: JSON {names (see ending.lua), job (its id), user, upload (prefix of the user's uploads)}
-- Answers nil if this user has no such job, else {key of its result, '1' if nobody needs that any
-- more, ids of the uploads that nobody needs any more}.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local names, id, user = asked.names, asked.job, asked.user
local was = read(names.job .. id, 'user', 'state', 'request_key', 'result_key', 'upload', 'other_uploads')
if was.user ~= user then return nil end
local result = was.result_key or was.request_key

local function forget_run(run)
  local state = redis.call('HGET', run, 'state')
  if ENDED[state] then
    redis.call('DEL', run)
  elseif state then  -- its worker may be storing the result just now: finish.lua
    redis.call('HSET', run, 'erase', 1)
  end
end

local function forget_upload(upload)
  local record = asked.upload .. upload
  local original = read(record, 'sha256', 'variant')
  if original.sha256 and original.sha256 ~= '' then
    redis.call('DEL', names.upload_of .. user .. ':' .. original.sha256 .. ':' .. original.variant)
  end
  redis.call('DEL', record)
end

-- The job needs it no longer; answers whether no other does.
local function let_go(set)
  redis.call('ZREM', set, id)
  return not is_held(set, now)
end

if not ENDED[was.state] and was.state ~= 'cancelling' then leave(names, id, 'cancelled', '', now) end
redis.call('DEL', names.job .. id)
redis.call('ZREM', names.user_jobs .. user, id)
redis.call('ZREM', names.deadlines, id)
redis.call('ZREM', names.interests, id)
redis.call('SREM', names.run_jobs .. was.request_key, id)
local is_free, free_uploads = let_go(names.result_jobs .. result), {}
if is_free then forget_run(names.run .. was.request_key) end
for _, upload in ipairs(uploads_of(was)) do
  if let_go(names.upload_jobs .. user .. ':' .. upload) then
    forget_upload(upload)
    free_uploads[#free_uploads + 1] = upload
  end
end
return {result, is_free and '1' or '0', free_uploads}
