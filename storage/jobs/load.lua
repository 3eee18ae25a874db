-- Needs time.
-- How much work each variant has before its end of inference, and what each model has done so far.
-- Arguments: variants, models, priorities
-- Answers {Redis time in ms, {runs of each variant, of all priorities}, {counters of each model}}.
local runs, totals = {}, {}
for i, variant in ipairs(arguments.variants) do
  runs[i] = 0
  for _, priority in ipairs(arguments.priorities) do
    runs[i] = runs[i] + redis.call('ZCARD', WAITING .. variant .. ':' .. priority)
  end
end
for i, model in ipairs(arguments.models) do totals[i] = redis.call('HGETALL', METRICS .. model .. ':all') end
return {math.floor(now), runs, totals}
