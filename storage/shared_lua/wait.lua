-- Shared by the scripts that say how long a run waits; storage/redis/calls.py puts it before them.
local ENDED = {done = true, failed = true, cancelled = true}

-- How many runs of `variant` are served before one that is claimed at `score`: people before batches.
local function ahead_of(score, prefix, variant, priority)
  local before = redis.call('ZCOUNT', prefix .. variant .. ':' .. priority, '-inf', score)
  if priority == 'batch' then before = before + redis.call('ZCARD', prefix .. variant .. ':interactive') end
  return before
end

-- The model of a variant: `matting` and `matting:quality` wait in one queue.
local function model_of(variant) return string.match(variant, '[^:]*') end

-- Runs that are served before one that is claimed at `score`: by variant, and by model.
local function all_ahead(score, prefix, variant, priority, loads)
  local runs = {[variant] = ahead_of(score, prefix, variant, priority)}
  for other in pairs(loads) do runs[other] = runs[other] or ahead_of(score, prefix, other, priority) end
  local of_model = {}
  for other, count in pairs(runs) do
    of_model[model_of(other)] = (of_model[model_of(other)] or 0) + count
  end
  return runs, of_model
end

-- How many runs of its model are before one of `variant` that is claimed at `score`, and for how many
-- ms all others keep it from its model. A device serves its models in turns, so that a long line of
-- one does not hold up another; cpu workers serve everybody in order. Both work at a time: the slower
-- one decides.
-- loads: variant -> what its runs cost those who come after (storage/records.py: Load)
local function line(score, prefix, variant, priority, loads)
  local runs, of_model = all_ahead(score, prefix, variant, priority, loads)
  local before, device_ms, cpu_ms = of_model[model_of(variant)], 0, 0
  for other, cost in pairs(loads) do
    local all = of_model[model_of(other)]
    local served = all > before and runs[other] * before / all or runs[other]
    -- Those of its own kind that fill no batch share one with it.
    local batches = (other == variant and math.floor or math.ceil)(served / cost.max_batch)
    device_ms = device_ms + batches * cost.a_ms + served * cost.b_ms
    cpu_ms = cpu_ms + runs[other] * cost.cpu_ms
  end
  return before, math.max(device_ms, cpu_ms)
end

local MOST_GONE = 100

-- How many runs are in `set`, oldest first. Ends take theirs out; a run whose record is gone is taken
-- out here, once it is the oldest. Not more than so many at a time: the next call goes on with it.
local function still_in(set)
  local oldest
  for _ = 1, MOST_GONE do
    oldest = redis.call('ZRANGE', set, 0, 0)[1]
    local state = oldest and redis.call('HGET', oldest, 'state')
    if not oldest or (state and not ENDED[state]) then break end
    redis.call('ZREM', set, oldest)
  end
  return redis.call('ZCARD', set), oldest
end
