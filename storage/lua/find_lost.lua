-- Find runs whose message or worker is lost. A waiting run is lost when, for `grace` ms, its queue
-- has been empty or later runs have started before it; a running one when its lease ran out.
-- Waiting is not dying: a long queue is neither.
-- KEYS: index of active runs, lock   ARGV: lock ms, grace ms, run prefix, lane prefix, broker prefix
local lock_ms, grace = ARGV[1], tonumber(ARGV[2])
if not redis.call('SET', KEYS[2], '1', 'NX', 'PX', lock_ms) then return {} end
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local empty = {}

local function is_empty(queue)
  if empty[queue] == nil then
    empty[queue] = true
    for _, step in ipairs({'', '\6\0223', '\6\0226', '\6\0229'}) do
      if redis.call('LLEN', ARGV[5] .. queue .. step) > 0 then empty[queue] = false end
    end
  end
  return empty[queue]
end

local function is_suspect(run)
  -- It runs, or a web process is at it still, bringing its bytes: the lease.
  if not run[4] or run[4] == '' or run[12] then return tonumber(run[3]) < now end
  local started = redis.call('HGET', ARGV[4] .. (run[10] or run[5]) .. ':' .. run[6], 'started')
  return is_empty(run[5]) or tonumber(run[7]) < tonumber(started or 0)
end

local lost = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local key = ARGV[3] .. name
  local run = redis.call('HMGET', key, 'n', 'state', 'lease', 'waiting_since', 'queue', 'lane',
    'position', 'model', 'suspect_since', 'line', 'spec', 'unsent')
  if not run[1] or run[2] == 'done' or run[2] == 'failed' or run[2] == 'cancelled' then
    redis.call('ZREM', KEYS[1], name)
  elseif not is_suspect(run) then
    if run[9] then redis.call('HDEL', key, 'suspect_since') end
  elseif not run[9] then
    redis.call('HSET', key, 'suspect_since', stamp)
  elseif now - tonumber(run[9]) > grace then
    lost[#lost + 1] = {name, run[1], run[8], run[6], run[11] or ''}
  end
end
return lost
