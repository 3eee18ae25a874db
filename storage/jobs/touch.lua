-- Needs ending.
-- A stage says of each run of its message that it starts, goes on or has ended. Stale runs get 0 back,
-- and so does a stage that has ended for this attempt already: its message was delivered twice. -1 is
-- the answer of a run that has ended, also of one that ends here: nobody waits for it any more, or the
-- last who did has lost patience.
-- The end of a stage queues the message for the next one: no crash can come between.
-- KEYS: priority of this stage, priority of the next (or the same), list of the letter or '', pace of the
--       model, then run, channel per run
-- ARGV: 'start' | 'renew' | 'end', stage, state, progress, lease ms, next queue or '', next line,
--       letter or '', names (see ending.lua), error of a run whose deadline is over, then per run:
--       request key, number
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local stamp = string.format('%.3f', now)
local event, stage, state, progress = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local leased = string.format('%.3f', now + tonumber(ARGV[5]))
local next_queue, next_line, letter = ARGV[6], ARGV[7], ARGV[8]
local count = (#KEYS - 4) / 2
local at, ms, deliveries, over = 'at:' .. stage, 'ms:' .. stage, 'deliveries:' .. stage, 'over:' .. stage
local answers, highest, handed_on, names, ended = {}, 0, false, nil, 0

for i = 1, count do
  local run, key, number = KEYS[3 + 2 * i], ARGV[9 + 2 * i], ARGV[10 + 2 * i]
  local was = redis.call('HMGET', run, 'n', 'state', 'version', 'position', 'waiting_since', 'ms:queued',
    deliveries, at, 'spec', over, 'unwanted', 'deadline', 'variant', 'model', 'priority', 'restarts')
  if was[1] ~= number or was[10] == number then
    answers[i] = {0, ''}
  elseif ENDED[was[2]] then
    answers[i] = {-1, ''}
  elseif was[11] or (event == 'start' and was[12] and tonumber(was[12]) < now) then
    names = names or cjson.decode(ARGV[9])
    if has_room(names, key, ended) then  -- else expire.lua ends its jobs: all are due
      ended = ended + end_run(names, key, 'failed', ARGV[10], '0', now)
    end
    answers[i] = {-1, ''}
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
        'lease', leased, at, stamp, deliveries, starts, 'with:' .. stage, count,
        'ms:queued', string.format('%.3f', queued), 'waiting_since', '')  -- it waits no longer
      answers[i] = {starts, was[9], tonumber(was[16] or 0)}
      if tonumber(was[4] or 0) > highest then highest = tonumber(was[4]) end
    else
      local position = was[4]
      if next_queue ~= '' then position = redis.call('HINCRBY', KEYS[2], 'next', 1) end
      redis.call('HSET', run, 'progress', progress, 'version', version, 'lease', leased, over, number,
        ms, string.format('%.3f', now - tonumber(was[8] or now)), 'waiting_since', stamp,
        'position', position)
      if next_queue ~= '' then redis.call('HSET', run, 'queue', next_queue, 'line', next_line) end
      if stage == 'inference' then
        names = names or cjson.decode(ARGV[9])
        redis.call('ZREM', names.waiting .. (was[13] or was[14]) .. ':' .. was[15], run)
      end
      answers[i], handed_on = {1, ''}, true
    end
    redis.call('PUBLISH', KEYS[4 + 2 * i], '{"state":"' .. state .. '","version":' .. version .. '}')
  end
end
if handed_on and stage == 'inference' then redis.call('HSET', KEYS[4], 'left', stamp) end
if handed_on and letter ~= '' then redis.call('LPUSH', KEYS[3], letter) end
if highest > 0 and highest > tonumber(redis.call('HGET', KEYS[1], 'started') or 0) then
  redis.call('HSET', KEYS[1], 'started', highest)
end
return answers
