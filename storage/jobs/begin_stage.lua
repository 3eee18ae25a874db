-- Needs stage.
-- A stage begins for the runs of its message.
-- KEYS: positions of the queue that they have waited in
-- Arguments: runs (each {key, attempt}), state, progress, lease_ms, and those of stage.lua
-- Answers per run {starts, spec, restarts}: how often this stage has begun, what the run computes, how
-- often it has started again; or {answer of live_run, ''}.
local positions = unpack(KEYS)
local stage = arguments.stage
local starts_field = 'starts:' .. stage
local lease, highest, answers = as_text(now + arguments.lease_ms), 0, {}

local function begin(ref, run)
  local starts, version = tonumber(run[starts_field] or 0) + 1, tonumber(run.version) + 1
  local since = tonumber(run.waiting_since or '')
  local queued_ms = tonumber(run['ms:queued'] or 0) + (since and now - since or 0)
  redis.call('HSET', RUN .. ref.key, 'state', arguments.state, 'stage', stage, 'progress', arguments.progress,
    'version', version, 'lease', lease, 'began:' .. stage, now_text, starts_field, starts,
    'runs:' .. stage, #arguments.runs, 'ms:queued', as_text(queued_ms), 'waiting_since', '')
  highest = math.max(highest, tonumber(run.position or 0))
  publish(ref.key, arguments.state, version)
  return {starts, run.spec, tonumber(run.restarts or 0)}
end

for i, ref in ipairs(arguments.runs) do
  local run, answer = live_run(ref, true, 'version', 'position', 'waiting_since', 'ms:queued', starts_field,
    'spec', 'restarts')
  answers[i] = run and begin(ref, run) or {answer, ''}
end
if highest > 0 and highest > tonumber(redis.call('HGET', positions, 'started') or 0) then
  redis.call('HSET', positions, 'started', highest)
end
return answers
