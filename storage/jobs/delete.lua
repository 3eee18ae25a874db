-- Needs ending, forget_upload.
-- Forget a job: its record, and its run's and its uploads' if no other job of the user needs them.
-- It costs the same however many jobs the user has: see holds.lua.
-- Arguments: job_id, user, and those of ending.lua
-- Answers nil if this user has no such job, else {key of its result, whether no job needs that any more
-- (1 or 0), ids of the uploads that no job needs any more}.
local id, user = arguments.job_id, arguments.user
local job = read(JOB .. id, 'user', 'state', 'request_key', 'result_key', 'upload', 'other_uploads', 'payer',
  'result')
if job.user ~= user then return nil end
local result_key, payer = job.result_key or job.request_key, job.payer or user

local function forget_run(key)
  local state = redis.call('HGET', RUN .. key, 'state')
  if ENDED[state] then
    redis.call('DEL', RUN .. key)
  elseif state then  -- its worker may be storing the result just now: finish.lua
    redis.call('HSET', RUN .. key, 'erase', 1)
  end
end

-- What is deleted is no longer stored.
local function give_back_result()
  local result = job.result and cjson.decode(job.result)
  if not result or not result.made_s then return end
  local bytes = 0
  for _, object in pairs(result.objects) do bytes = bytes + object.bytes end
  if result.thumbnail then bytes = bytes + result.thumbnail.bytes end
  store(payer, -bytes, expires_s(result.made_s * 1000, arguments.job_ttl_ms))
end

-- The job needs what `set` is of no longer; answers whether no other does.
local function let_go(set)
  redis.call('ZREM', set, id)
  return not is_held(set, now)
end

if not ENDED[job.state] and job.state ~= 'cancelling' then leave(id, CANCELLATION) end
redis.call('DEL', JOB .. id)
redis.call('ZREM', USER_JOBS .. user, id)
redis.call('ZREM', DEADLINES, id)
redis.call('ZREM', KEEP_ALIVES, id)
redis.call('SREM', RUN_JOBS .. job.request_key, id)
local is_free, free_uploads = let_go(RESULT_JOBS .. result_key), {}
if is_free then
  forget_run(job.request_key)
  give_back_result()
end
for _, upload in ipairs(uploads_of(job)) do
  if let_go(UPLOAD_JOBS .. user .. ':' .. upload) then
    forget_upload(user, upload)
    free_uploads[#free_uploads + 1] = upload
  end
end
return {result_key, is_free and 1 or 0, free_uploads}
