-- Needs ending.lua.
-- Give runs a new number, as if they had just been claimed; the caller queues them. Stale ones get 0,
-- and so do those that nobody wants any more: they end.
-- KEYS: run, channel, run's jobs per run
-- ARGV: lease ms, prefixes of lanes, of waiting runs and of jobs, names (see ending.lua), then per run:
--       request key, number, new spec or '', the weights in it
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp, leased = string.format('%.3f', now), string.format('%.3f', now + tonumber(ARGV[1]))
local numbers = {}

for i = 1, #KEYS / 3 do
  local run, channel, jobs = KEYS[3 * i - 2], KEYS[3 * i - 1], KEYS[3 * i]
  local key, number, spec, weights = unpack(ARGV, 4 * i + 2, 4 * i + 5)
  local was = redis.call('HMGET', run, 'n', 'state', 'lane', 'variant', 'unwanted', 'model')
  if was[1] ~= number or ENDED[was[2]] then
    numbers[i] = 0
  elseif was[5] then
    end_run(cjson.decode(ARGV[5]), key, 'cancelled', '', '0', now)
    numbers[i] = 0
  else
    numbers[i] = tonumber(was[1]) + 1
    local position = redis.call('HINCRBY', ARGV[2] .. 'cpu:' .. was[3], 'next', 1)
    redis.call('HSET', run, 'n', numbers[i], 'state', 'queued', 'stage', '', 'progress', 0, 'queue', 'cpu',
      'line', 'cpu', 'position', position, 'waiting_since', stamp, 'lease', leased)
    redis.call('HDEL', run, 'suspect_since', 'unsent')
    redis.call('ZADD', ARGV[3] .. (was[4] or was[6]) .. ':' .. was[3], now, run)  -- behind those who wait now
    if spec ~= '' then  -- its result will not be that of its key: claim.lua
      redis.call('HSET', run, 'spec', spec, 'moved', 1)
      for _, id in ipairs(redis.call('SMEMBERS', jobs)) do
        if redis.call('EXISTS', ARGV[4] .. id) == 1 then redis.call('HSET', ARGV[4] .. id, 'weights', weights) end
      end
    end
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', channel, '{"state":"queued","version":' .. version .. '}')
  end
end
return numbers
