-- A job and, while it is under way, what its run does now and how many are before it.
-- KEYS: job   ARGV: prefix of run keys, prefix of lane keys
local job = redis.call('HGETALL', KEYS[1])
if #job == 0 then return {} end
local fields = {}
for i = 1, #job, 2 do fields[job[i]] = job[i + 1] end
local state = fields['state']
if state == 'done' or state == 'failed' or state == 'cancelled' then return {job, {}, 0} end
local run = redis.call('HMGET', ARGV[1] .. fields['request_key'],
  'n', 'state', 'stage', 'progress', 'version', 'queue', 'lane', 'position')
local ahead = -1
if run[6] and run[8] then
  local started = redis.call('HGET', ARGV[2] .. run[6] .. ':' .. run[7], 'started')
  ahead = tonumber(run[8]) - tonumber(started or 0)
end
return {job, run, ahead}
