-- Needs stage.
-- A stage is still at work on the runs of its message.
-- Arguments: runs (each {key, attempt}), lease_ms, and those of stage.lua
-- Answers 1 per run, or the answer of live_run.
local lease, answers = as_text(now + arguments.lease_ms), {}
for i, ref in ipairs(arguments.runs) do
  local run, answer = live_run(ref, false)
  if run then redis.call('HSET', RUN .. ref.key, 'lease', lease) end
  answers[i] = run and 1 or answer
end
return answers
