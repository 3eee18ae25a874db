-- A worker may not do these runs: they wait, in no line, until they are led again for the versions of
-- then. As find_lost sees it they are lost from now on. What they did so far counts no more.
-- KEYS: run, channel per run   ARGV: lease ms, how often at most, then one run number per run
-- Answers 1, or 0 for each that is stale or was handed back too often.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp, leased = string.format('%.3f', now), string.format('%.3f', now + tonumber(ARGV[1]))
local answers = {}

for i = 1, #KEYS / 2 do
  local run = KEYS[2 * i - 1]
  local was = redis.call('HMGET', run, 'n', 'state', 'handed_back')
  local times = tonumber(was[3] or 0) + 1
  if was[1] ~= ARGV[2 + i] or was[2] == 'done' or was[2] == 'failed' or was[2] == 'cancelled'
      or times > tonumber(ARGV[2]) then
    answers[i] = 0
  else
    redis.call('HSET', run, 'state', 'queued', 'stage', '', 'progress', 0, 'lease', leased, 'handed_back', times,
      'queue', 'cpu', 'line', 'cpu', 'position', -1, 'waiting_since', stamp, 'suspect_since', stamp)
    for _, stage in ipairs({'preprocess', 'inference', 'postprocess'}) do
      redis.call('HDEL', run, 'deliveries:' .. stage, 'over:' .. stage)
    end
    local version = redis.call('HINCRBY', run, 'version', 1)
    redis.call('PUBLISH', KEYS[2 * i], '{"state":"queued","version":' .. version .. '}')
    answers[i] = 1
  end
end
return answers
