-- A stage says of each run of its message that it starts or has ended. Stale runs get 0 back.
-- KEYS: lane of this stage's queue, lane of the next stage's queue (or the same), then run, channel per run
-- ARGV: 'start' | 'renew' | 'end', stage, state, progress, lease ms, next queue or '', then one run number per run
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local event, stage, state, progress, lease, next_queue = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local answers = {}
local started = tonumber(redis.call('HGET', KEYS[1], 'started') or 0)
local highest = started

local function start(run, channel, position)
  local fields = {'state', state, 'stage', stage, 'progress', progress,
    'lease', string.format('%.3f', now + lease), 'at:' .. stage, stamp}
  if position > highest then highest = position end
  local since = tonumber(redis.call('HGET', run, 'waiting_since') or '')
  if since then redis.call('HINCRBYFLOAT', run, 'ms:queued', string.format('%.3f', now - since)) end
  fields[#fields + 1] = 'waiting_since'  -- it waits no longer
  fields[#fields + 1] = ''
  redis.call('HSET', run, unpack(fields))
  local deliveries = redis.call('HINCRBY', run, 'deliveries:' .. stage, 1)
  return {deliveries, redis.call('HGET', run, 'spec')}
end

local function finish(run)
  local at = redis.call('HGET', run, 'at:' .. stage)
  local fields = {'progress', progress, 'lease', string.format('%.3f', now + lease),
    'ms:' .. stage, string.format('%.3f', now - tonumber(at or now)), 'waiting_since', stamp}
  if next_queue ~= '' then
    fields[#fields + 1] = 'queue'
    fields[#fields + 1] = next_queue
    fields[#fields + 1] = 'position'
    fields[#fields + 1] = redis.call('HINCRBY', KEYS[2], 'next', 1)
  end
  redis.call('HSET', run, unpack(fields))
  return {1, ''}
end

for i = 1, (#KEYS - 2) / 2 do
  local run, channel = KEYS[1 + 2 * i], KEYS[2 + 2 * i]
  local was = redis.call('HMGET', run, 'n', 'state', 'position')
  if was[1] ~= ARGV[6 + i] or was[2] == 'done' or was[2] == 'failed' or was[2] == 'cancelled' then
    answers[i] = {0, ''}
  elseif event == 'renew' then
    redis.call('HSET', run, 'lease', string.format('%.3f', now + lease))
    answers[i] = {1, ''}
  else
    answers[i] = event == 'start' and start(run, channel, tonumber(was[3] or 0)) or finish(run)
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', channel, '{"state":"' .. state .. '","version":' .. version .. '}')
  end
end
if highest > started then redis.call('HSET', KEYS[1], 'started', highest) end
return answers
