-- Shared by the scripts that say how long a run waits; storage/calls.py puts it before them.
local ENDED = {done = true, failed = true, cancelled = true}

-- How many runs of `model` are served before one that is claimed at `score`: people before batches.
local function ahead_of(score, prefix, model, lane)
  local before = redis.call('ZCOUNT', prefix .. model .. ':' .. lane, '-inf', score)
  if lane == 'batch' then before = before + redis.call('ZCARD', prefix .. model .. ':interactive') end
  return before
end

-- How many runs are before one of `model` that is claimed at `score`, and for how many ms they keep
-- it from its model. A device serves its models in turns, so that a long line of one does not hold up
-- another; cpu workers serve everybody in order. Both work at a time: the slower one decides.
-- loads: model -> what its runs cost those who come after (storage/records.py: Load)
local function line(score, prefix, model, lane, loads)
  local before, device_ms, cpu_ms = ahead_of(score, prefix, model, lane), 0, 0
  for other, cost in pairs(loads) do
    local runs = ahead_of(score, prefix, other, lane)
    local served = math.min(runs, before)
    -- Those of its own model that fill no batch share one with it.
    local batches = (other == model and math.floor or math.ceil)(served / cost.max_batch)
    device_ms = device_ms + batches * cost.a_ms + served * cost.b_ms
    cpu_ms = cpu_ms + runs * cost.cpu_ms
  end
  return before, math.max(device_ms, cpu_ms)
end

-- How many runs are in `set`, oldest first. Ends take theirs out; a run whose record is gone is taken
-- out here, once it is the oldest.
local function still_in(set)
  while true do
    local oldest = redis.call('ZRANGE', set, 0, 0)[1]
    local state = oldest and redis.call('HGET', oldest, 'state')
    if not oldest or (state and not ENDED[state]) then return redis.call('ZCARD', set), oldest end
    redis.call('ZREM', set, oldest)
  end
end
