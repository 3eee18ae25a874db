-- Needs line.lua.
-- A job and, while it is under way, what its run does now and what it waits for.
-- KEYS: job
-- ARGV: prefixes of runs, of waiting runs and of paces, loads of each model (JSON): see line.lua,
--       interests in jobs, how long one lasts in ms
-- Answers {} or {job, run, runs ahead or -1, ms until its turn, ms that the device has been at its
-- present batch, ms of the stage so far or -1 while it waits}
local job = redis.call('HGETALL', KEYS[1])
if #job == 0 then return {} end
local fields = {}
for i = 1, #job, 2 do fields[job[i]] = job[i + 1] end
if ENDED[fields['state']] then return {job, {}} end

local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
if fields['keep'] == '0' then redis.call('ZADD', ARGV[5], 'XX', now + ARGV[6], fields['id']) end
local key = ARGV[1] .. fields['request_key']
local run = redis.call('HMGET', key, 'n', 'state', 'stage', 'progress', 'version', 'waiting_since', 'lane', 'model')
local stage, waits, lane, model = run[3], run[6] ~= '', run[7], run[8]
if not run[1] then return {job, run} end

local function text(ms) return string.format('%.3f', ms) end
local function since(of, field, never) return now - tonumber(redis.call('HGET', of, field) or never) end

local waiting = ARGV[2] .. model .. ':' .. lane
local score = redis.call('ZSCORE', waiting, key)
local ahead, wait_ms, busy_ms = -1, 0, 0
if score then
  local loads = cjson.decode(ARGV[4])[model] or {}
  ahead, wait_ms = line('(' .. score, ARGV[2], model, lane, loads)
  local _, oldest = still_in(waiting)
  busy_ms = math.min(since(oldest, 'at:inference', now), since(ARGV[3] .. model, 'left', 0))
end
return {job, run, ahead, text(wait_ms), text(busy_ms), waits and '-1' or text(since(key, 'at:' .. stage, now))}
