-- Needs ending.
-- End runs, done or failed, and every job that waits for them. Only the current attempt can.
-- Arguments: ends (each {ref {key, attempt}, state, payload (JSON), lasting, degraded, stored_bytes,
--   made_s}), and those of ending.lua
-- Answers per run one of the next four: ERASE if its only job was deleted and no other needs the result
-- by now; LATER if it is left as it is, as enough jobs have ended for one script.
local IS_STALE, HAS_ENDED, ERASE, LATER = 0, 1, 2, 3
local answers, sums, jobs_ended = {}, new_sums(), 0

local function finish(ending)
  local key = ending.ref.key
  local run = read_run(key, 'state', 'erase', 'result_key')
  if tonumber(run.attempt or 0) ~= ending.ref.attempt or ENDED[run.state] then return IS_STALE end
  if not has_room(key, jobs_ended) then return LATER end
  jobs_ended = jobs_ended + end_run(key, ending, sums, run)
  local is_free = run.erase and not is_held(RESULT_JOBS .. (run.result_key or key), now)
  return is_free and ERASE or HAS_ENDED
end

for i, ending in ipairs(arguments.ends) do answers[i] = finish(ending) end
record_metrics(sums)
return answers
