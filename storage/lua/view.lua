-- Needs line.lua.
-- Jobs and, while they are under way, what their runs do now and what they wait for.
-- KEYS: jobs
-- ARGV: prefixes of runs, of waiting runs and of paces, loads of each model (JSON): see line.lua,
--       interests in jobs, how long one lasts in ms
-- Answers Redis time in ms, then per job {} or {job, run, runs ahead or -1, ms until its turn, ms that
-- the device has been at its present batch, ms of the stage so far or -1 while it waits}
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local loads_of = cjson.decode(ARGV[4])

local function text(ms) return string.format('%.3f', ms) end
local function since(of, field, never) return now - tonumber(redis.call('HGET', of, field) or never) end

local function look(name)
  local job = redis.call('HGETALL', name)
  if #job == 0 then return {} end
  local fields = {}
  for i = 1, #job, 2 do fields[job[i]] = job[i + 1] end
  if ENDED[fields['state']] then return {job, {}} end

  if fields['keep'] == '0' then redis.call('ZADD', ARGV[5], 'XX', now + ARGV[6], fields['id']) end
  local key = ARGV[1] .. fields['request_key']
  local run = redis.call('HMGET', key, 'n', 'state', 'stage', 'progress', 'version', 'waiting_since', 'lane', 'model')
  local stage, waits, lane, model = run[3], run[6] ~= '', run[7], run[8]
  if not run[1] then return {job, run} end

  local waiting = ARGV[2] .. model .. ':' .. lane
  local score = redis.call('ZSCORE', waiting, key)
  local ahead, wait_ms, busy_ms = -1, 0, 0
  if score then
    ahead, wait_ms = line('(' .. score, ARGV[2], model, lane, loads_of[model] or {})
    local _, oldest = still_in(waiting)
    busy_ms = math.min(since(oldest, 'at:inference', now), since(ARGV[3] .. model, 'left', 0))
  end
  return {job, run, ahead, text(wait_ms), text(busy_ms), waits and '-1' or text(since(key, 'at:' .. stage, now))}
end

local found = {text(now)}
for i, name in ipairs(KEYS) do found[i + 1] = look(name) end
return found
