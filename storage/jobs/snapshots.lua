-- Needs wait.
-- Jobs and, while they are under way, what their runs do now and what they wait for.
-- KEYS: jobs
-- ARGV: prefixes of runs, of waiting runs and of paces, loads of each variant (JSON): see line.lua,
--       interests in jobs, how long one lasts in ms
-- Answers JSON, as a client reads that much faster than lists of words: `at`, Redis time in ms; `jobs`,
-- each false or the fields of View in storage/records.py
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local loads

local RUN = {'n', 'state', 'stage', 'progress', 'version', 'waiting_since', 'priority', 'model',
  'variant'}
local function since(of, field, never) return now - tonumber(redis.call('HGET', of, field) or never) end

local function look(name)
  local job = redis.call('HGETALL', name)
  if #job == 0 then return false end
  local fields = {}
  for i = 1, #job, 2 do fields[job[i]] = job[i + 1] end
  if ENDED[fields['state']] then return {fields = fields} end

  if fields['keep'] == '0' then redis.call('ZADD', ARGV[5], 'XX', now + ARGV[6], fields['id']) end
  local key = ARGV[1] .. fields['request_key']
  local values, run = redis.call('HMGET', key, unpack(RUN)), {}
  if not values[1] then return {fields = fields} end
  for i, name in ipairs(RUN) do run[name] = values[i] or nil end
  local stage, waits, priority, model = run.stage, run.waiting_since ~= '', run.priority, run.model

  local variant = run.variant or model
  local waiting = ARGV[2] .. variant .. ':' .. priority
  local score = redis.call('ZSCORE', waiting, key)
  local ahead, wait_ms, busy_ms = -1, 0, 0
  if score then
    loads = loads or cjson.decode(ARGV[4])
    ahead, wait_ms = line('(' .. score, ARGV[2], variant, priority, loads[variant] or loads[model] or {})
    local _, oldest = still_in(waiting)
    busy_ms = math.min(since(oldest, 'at:inference', now), since(ARGV[3] .. model, 'left', 0))
  end
  local stage_ms = waits and -1 or since(key, 'at:' .. stage, now)
  return {fields = fields, run = run, ahead = ahead, wait_ms = wait_ms, busy_ms = busy_ms, stage_ms = stage_ms}
end

local jobs = {}
for i, name in ipairs(KEYS) do jobs[i] = look(name) end
-- Numbers have 14 digits in cjson: too few for a time.
return cjson.encode({at = string.format('%.3f', now), jobs = jobs})
