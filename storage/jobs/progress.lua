-- Needs stage.
-- A stage has come further with a run; its lease is renewed.
-- Arguments: ref ({key, attempt}), state, progress, slices (how many of how many are done, as text), lease_ms,
--   and those of stage.lua
-- Answers 1, or the answer of live_run.
local ref = arguments.ref
local run, answer = live_run(ref, false, 'version')
if not run then return answer end
local version = tonumber(run.version) + 1
redis.call('HSET', RUN .. ref.key, 'progress', arguments.progress, 'slices', arguments.slices, 'version', version,
  'lease', as_text(now + arguments.lease_ms))
publish(ref.key, arguments.state, version)
return 1
