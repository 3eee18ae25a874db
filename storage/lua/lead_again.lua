-- Give runs a new number, as if they had just been claimed; the caller queues them. Stale ones get 0.
-- KEYS: run, channel per run
-- ARGV: lease ms, lane prefix, prefix of waiting runs, then one run number per run
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp, leased = string.format('%.3f', now), string.format('%.3f', now + tonumber(ARGV[1]))
local numbers = {}

for i = 1, #KEYS / 2 do
  local run = KEYS[2 * i - 1]
  local was = redis.call('HMGET', run, 'n', 'state', 'lane', 'model')
  if was[1] ~= ARGV[3 + i] or was[2] == 'done' or was[2] == 'failed' or was[2] == 'cancelled' then
    numbers[i] = 0
  else
    numbers[i] = tonumber(was[1]) + 1
    local position = redis.call('HINCRBY', ARGV[2] .. 'cpu:' .. was[3], 'next', 1)
    redis.call('HSET', run, 'n', numbers[i], 'state', 'queued', 'stage', '', 'progress', 0, 'queue', 'cpu',
      'line', 'cpu', 'position', position, 'waiting_since', stamp, 'lease', leased)
    redis.call('HDEL', run, 'suspect_since')
    redis.call('ZADD', ARGV[3] .. was[4] .. ':' .. was[3], now, run)  -- behind those who wait now
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', KEYS[2 * i], '{"state":"queued","version":' .. version .. '}')
  end
end
return numbers
