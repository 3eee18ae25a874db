-- What ends of runs add to the numbers of a model: summed up while a script ends runs, and written once
-- by `record_metrics`.
local function new_sums() return {counts = {}, times = {}, means = {}} end

local function add(sums, kind, model, field, value)
  local of_model = sums[kind][model] or {}
  of_model[field] = (of_model[field] or 0) + value
  sums[kind][model] = of_model
end

local function bucket(bounds, ms)
  for _, most in ipairs(bounds) do if ms <= most then return most end end
  return 'inf'
end

-- All ends, and those of the version of the model that the run was asked of; announce.lua forgets the versions.
local function count(sums, run, field)
  add(sums, 'counts', run.model, field, 1)
  if run.model_version then add(sums, 'counts', run.model, field .. '@' .. run.model_version, 1) end
end

-- How long the user of the run's first job has waited for its result.
local function count_job(sums, run)
  local field, ms = 'job:' .. run.priority .. ':' .. (string.match(run.variant or '', ':(.*)') or ''), ms_since(run.claimed)
  add(sums, 'times', run.model, field .. ':ms', ms)
  add(sums, 'counts', run.model, field .. ':le:' .. bucket(JOB_BUCKETS_MS, ms), 1)
end

-- An `le` counts what took at most so many ms and more than the bucket before.
local function count_end(sums, run, state, code, spent_ms)
  count(sums, run, state)
  if code then count(sums, run, 'failed:' .. code) end
  if state ~= 'cancelled' and run.claimed then count_job(sums, run) end
  for stage, ms in pairs(spent_ms) do
    add(sums, 'times', run.model, 'ms:' .. stage, ms)
    add(sums, 'counts', run.model, 'le:' .. stage .. ':' .. bucket(BUCKETS_MS, ms), 1)
  end
end

-- Moving means of what a run costs the cpu workers: a stage serves all runs of its message at a time.
-- They begin at zero, as the first runs of fresh workers are no measure. A clock that is set forward
-- makes a stage as long as it likes: none counts more than LONGEST_MS.
local LONGEST_MS = 60000
local function learn(sums, record, spent_ms)
  local means = sums.means[record.model] or read(MEAN_STAGE_MS .. record.model, unpack(CPU_STAGES))
  for _, stage in ipairs(CPU_STAGES) do
    local cost_ms = math.min(spent_ms[stage] or 0, LONGEST_MS) / tonumber(record['runs:' .. stage] or 1)
    means[stage] = (means[stage] or 0) * 0.9 + cost_ms * 0.1
  end
  sums.means[record.model] = means
end

-- Add numbers to the fields of a hash: two commands, where an HINCRBY per field would be a dozen.
-- Answers whether all of them are new.
local function increase(key, fields, counts, times)
  local values, words, is_new = redis.call('HMGET', key, unpack(fields)), {}, true
  for i, field in ipairs(fields) do
    if values[i] then is_new = false end
    local value = tonumber(values[i] or 0)
    words[2 * i - 1] = field
    words[2 * i] = counts[field] and string.format('%d', value + counts[field]) or as_text(value + times[field])
  end
  redis.call('HSET', key, unpack(words))
  return is_new
end

-- Every end counts twice: for ever, as what /metrics shows must never fall, and in its minute, which needs no
-- more than minutes.py reads.
local function record_metrics(sums)
  for model, counts in pairs(sums.counts) do
    local minute, times = METRICS .. model .. ':' .. math.floor(now / 60000), sums.times[model] or {}
    local fields, of_minute = {}, {}
    for field in pairs(counts) do
      fields[#fields + 1] = field
      if ENDED[field] then of_minute[#of_minute + 1] = field end
    end
    for field in pairs(times) do
      fields[#fields + 1] = field
      if string.sub(field, 1, 3) == 'ms:' then of_minute[#of_minute + 1] = field end
    end
    increase(METRICS .. model .. ':all', fields, counts, times)
    if increase(minute, of_minute, counts, times) then
      redis.call('PEXPIRE', minute, arguments.metrics_ttl_ms)
    end
  end
  for model, means in pairs(sums.means) do
    local words = {}
    for stage, ms in pairs(means) do words[#words + 1], words[#words + 2] = stage, as_text(ms) end
    redis.call('HSET', MEAN_STAGE_MS .. model, unpack(words))
  end
end
