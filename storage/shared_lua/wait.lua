-- How long a run waits for its model.

-- How many runs of `variant` would be served before one whose start tag is `tag` (fair.lua), if nobody came
-- after it: people before batches.
local function ahead_of(tag, variant, priority)
  local ahead = redis.call('ZCOUNT', WAITING .. variant .. ':' .. priority, '-inf', tag)
  if priority == 'batch' then ahead = ahead + redis.call('ZCARD', WAITING .. variant .. ':interactive') end
  return ahead
end

-- The model of a variant: `matting` and `matting:quality` are served in one order.
local function model_of(variant) return string.match(variant, '[^:]*') end

-- Runs that may be served before one with this start tag, by variant and by model. Tags of different models
-- say nothing of each other: of other models, all that wait.
local function all_ahead(tag, variant, priority, costs)
  local runs, model = {[variant] = ahead_of(tag, variant, priority)}, model_of(variant)
  for other in pairs(costs) do
    runs[other] = runs[other] or ahead_of(model_of(other) == model and tag or '+inf', other, priority)
  end
  local of_model = {}
  for other, count in pairs(runs) do
    of_model[model_of(other)] = (of_model[model_of(other)] or 0) + count
  end
  return runs, of_model
end

-- How many runs of its model are before one of `variant` with this start tag, and for how many ms all
-- others keep it from its model. Models are served in turns, so that many runs of one do not hold up
-- another. Devices and cpu workers work at a time: the slower one decides.
-- costs: variant -> what its runs cost the runs that come after (storage/jobs/claims.py: RunCost)
local function wait_for(tag, variant, priority, costs)
  local runs, of_model = all_ahead(tag, variant, priority, costs)
  local ahead, device_ms, cpu_ms = of_model[model_of(variant)], 0, 0
  for other, cost in pairs(costs) do
    local all = of_model[model_of(other)]
    local served = all > ahead and runs[other] * ahead / all or runs[other]
    -- Those of its own variant that fill no batch share one with it.
    local batches = (other == variant and math.floor or math.ceil)(served / cost.max_batch)
    device_ms = device_ms + batches * cost.a_ms + served * cost.b_ms
    cpu_ms = cpu_ms + served * cost.cpu_ms
  end
  return ahead, math.max(device_ms, cpu_ms)
end

local MOST_GONE = 100

-- How many runs are in `set`, and the oldest. The end of a run takes it out; a run whose record is gone
-- is taken out here, once it is the oldest. Not more than so many at a time: the next call goes on.
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
