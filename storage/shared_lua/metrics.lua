-- What ends of runs add to the numbers of a model: summed up while a script ends runs, and written once
-- by `record_metrics`.
local function new_sums() return {counts = {}, times = {}, means = {}} end

local function add(sums, kind, model, field, value)
  local of_model = sums[kind][model] or {}
  of_model[field] = (of_model[field] or 0) + value
  sums[kind][model] = of_model
end

local function bucket(ms)
  for _, most in ipairs(BUCKETS_MS) do if ms <= most then return most end end
  return 'inf'
end

-- A stage's `le` counts what took at most so many ms and more than the bucket before.
local function count_end(sums, model, state, code, spent_ms)
  add(sums, 'counts', model, state, 1)
  if code then add(sums, 'counts', model, 'failed:' .. code, 1) end
  for stage, ms in pairs(spent_ms) do
    add(sums, 'times', model, 'ms:' .. stage, ms)
    add(sums, 'counts', model, 'le:' .. stage .. ':' .. bucket(ms), 1)
  end
end

-- Moving means of what a run costs the cpu workers: a stage serves all runs of its message at a time.
-- They begin at zero, as the first runs of fresh workers are no measure.
local function learn(sums, record, spent_ms)
  local means = sums.means[record.model] or read(MEAN_STAGE_MS .. record.model, unpack(CPU_STAGES))
  for _, stage in ipairs(CPU_STAGES) do
    local cost_ms = (spent_ms[stage] or 0) / tonumber(record['runs:' .. stage] or 1)
    means[stage] = (means[stage] or 0) * 0.9 + cost_ms * 0.1
  end
  sums.means[record.model] = means
end

-- Every end counts twice: in its minute, and for ever, as what /metrics shows must never fall.
local function record_metrics(sums)
  for model, counts in pairs(sums.counts) do
    local minute = METRICS .. model .. ':' .. math.floor(now / 60000)
    for _, key in ipairs({minute, METRICS .. model .. ':all'}) do
      for field, count in pairs(counts) do redis.call('HINCRBY', key, field, count) end
      for field, ms in pairs(sums.times[model] or {}) do
        redis.call('HINCRBYFLOAT', key, field, as_text(ms))
      end
    end
    redis.call('PEXPIRE', minute, arguments.metrics_ttl_ms)
  end
  for model, means in pairs(sums.means) do
    for stage, ms in pairs(means) do redis.call('HSET', MEAN_STAGE_MS .. model, stage, as_text(ms)) end
  end
end
