-- Needs time, holds.
-- Make a link to one picture of a job's result, which keeps the result until the link expires.
-- KEYS: the link, links of its user
-- Arguments: share_id, record (its fields; `user` and `job` among them), expires_ms, most (links of one
--   user)
-- Answers 'ok', 'too_many', or 'no_job' if the user has no such job.
local link, user_shares = unpack(KEYS)
local record, id = arguments.record, arguments.share_id
local job = read(JOB .. record.job, 'user', 'request_key', 'result_key')
if job.user ~= record.user then return 'no_job' end
redis.call('ZREMRANGEBYSCORE', user_shares, '-inf', now_text)
if redis.call('ZCARD', user_shares) >= arguments.most then return 'too_many' end
local result_jobs = RESULT_JOBS .. (job.result_key or job.request_key)
local ttl_ms = arguments.expires_ms - now
for name, value in pairs(record) do redis.call('HSET', link, name, value) end
redis.call('HSET', link, 'result_jobs', result_jobs, 'created', string.format('%.0f', now), 'expires',
  string.format('%.0f', arguments.expires_ms))
redis.call('PEXPIRE', link, math.max(math.ceil(ttl_ms), 1))
redis.call('ZADD', user_shares, arguments.expires_ms, id)
lengthen(user_shares, ttl_ms)
hold_until(as_text(arguments.expires_ms), result_jobs, 'share:' .. id, now, ttl_ms)
return 'ok'
