-- End a link of a user, or all of one job.
-- KEYS: links of the user
-- Arguments: share_id ('': all), job (its id; '': of all jobs)
-- Answers how many were ended.
local user_shares = unpack(KEYS)
local ids = arguments.share_id == '' and redis.call('ZRANGE', user_shares, 0, -1) or {arguments.share_id}
local ended = 0
for _, id in ipairs(ids) do
  local link = read(SHARE .. id, 'job', 'result_jobs')
  local is_own = redis.call('ZSCORE', user_shares, id)
  if is_own and (arguments.job == '' or link.job == arguments.job) then
    if link.result_jobs then redis.call('ZREM', link.result_jobs, 'share:' .. id) end
    redis.call('ZREM', user_shares, id)
    ended = ended + redis.call('DEL', SHARE .. id)
  end
end
return ended
