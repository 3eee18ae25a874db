-- Needs begin.
-- A stage begins for the runs of its message.
-- KEYS: positions of the queue that they have waited in
-- Arguments: runs (each {key, attempt}), and those of begin.lua
-- Answers per run {starts, spec, restarts, worked_ms}: how often this stage has begun, what the run computes,
-- how often it has started again, how long its earlier stages took; or {answer of live_run, ''}.
local positions = unpack(KEYS)
local highest, answers = 0, {}

for i, ref in ipairs(arguments.runs) do
  local run, answer = live_to_begin(ref)
  if run then highest = math.max(highest, tonumber(run.position or 0)) end
  answers[i] = run and begin(ref, run, #arguments.runs) or {answer, ''}
end
publish_together(begun, arguments.state)
if highest > 0 and highest > tonumber(redis.call('HGET', positions, 'started') or 0) then
  redis.call('HSET', positions, 'started', highest)
end
return answers
