-- A stage says of each run of its message that it starts, goes on or has ended. Stale runs get 0 back.
-- KEYS: lane of this stage's queue, lane of the next stage's queue (or the same), then run, channel per run
-- ARGV: 'start' | 'renew' | 'end', stage, state, progress, lease ms, next queue or '', then one run
--       number per run
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local event, stage, state, progress = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local leased = string.format('%.3f', now + tonumber(ARGV[5]))
local next_queue = ARGV[6]
local at, ms, deliveries = 'at:' .. stage, 'ms:' .. stage, 'deliveries:' .. stage
local answers, highest = {}, 0

for i = 1, (#KEYS - 2) / 2 do
  local run = KEYS[1 + 2 * i]
  local was = redis.call('HMGET', run, 'n', 'state', 'version', 'position', 'waiting_since', 'ms:queued',
    deliveries, at, 'spec')
  if was[1] ~= ARGV[6 + i] or was[2] == 'done' or was[2] == 'failed' or was[2] == 'cancelled' then
    answers[i] = {0, ''}
  elseif event == 'renew' then
    redis.call('HSET', run, 'lease', leased)
    answers[i] = {1, ''}
  else
    local version = tonumber(was[3]) + 1
    if event == 'start' then
      local since = tonumber(was[5] or '')
      local queued = tonumber(was[6] or 0) + (since and now - since or 0)
      local starts = tonumber(was[7] or 0) + 1
      redis.call('HSET', run, 'state', state, 'stage', stage, 'progress', progress, 'version', version,
        'lease', leased, at, stamp, deliveries, starts, 'ms:queued', string.format('%.3f', queued),
        'waiting_since', '')  -- it waits no longer
      answers[i] = {starts, was[9]}
      if tonumber(was[4] or 0) > highest then highest = tonumber(was[4]) end
    else
      local position = was[4]
      if next_queue ~= '' then position = redis.call('HINCRBY', KEYS[2], 'next', 1) end
      redis.call('HSET', run, 'progress', progress, 'version', version, 'lease', leased,
        ms, string.format('%.3f', now - tonumber(was[8] or now)), 'waiting_since', stamp,
        'position', position)
      if next_queue ~= '' then redis.call('HSET', run, 'queue', next_queue) end
      answers[i] = {1, ''}
    end
    redis.call('PUBLISH', KEYS[2 + 2 * i], '{"state":"' .. state .. '","version":' .. version .. '}')
  end
end
if highest > 0 and highest > tonumber(redis.call('HGET', KEYS[1], 'started') or 0) then
  redis.call('HSET', KEYS[1], 'started', highest)
end
return answers
