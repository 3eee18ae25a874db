-- Needs ending.
-- Somebody does not want a job any more.   ARGV: names (see ending.lua), job id, user
-- Answers the job's state from now on, or nil when this user has no such job.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local names, id = cjson.decode(ARGV[1]), ARGV[2]
local was = redis.call('HMGET', names.job .. id, 'user', 'state')
if was[1] ~= ARGV[3] then return nil end
if ENDED[was[2]] or was[2] == 'cancelling' then return was[2] end
return leave(names, id, 'cancelled', '', now)
