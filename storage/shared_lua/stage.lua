-- Needs time, events.
-- Whether a stage may work on a run of its message.
-- Arguments: stage, expired (JSON of the error of a run whose deadline is over), and those of ending.lua.
local IS_STALE, HAS_ENDED = 0, -1
local ended_attempt = 'ended_attempt:' .. arguments.stage
local jobs_ended = 0

-- Few stages end a run. The functions for that are made when they are called for, as making them takes
-- longer than what a stage does itself.
local end_run, has_room
local function load_ending()
-- Insert ending.
  return end_run, has_room
end

-- These fields of a run that the stage may work on. Else nil and what is answered for the run: IS_STALE
-- if there is another attempt, or this stage has ended for this one already, as its message was
-- delivered twice; HAS_ENDED also if it ends here, as it was cancelled or its deadline is over.
local function live_run(ref, is_start, ...)
  local run = read(RUN .. ref.key, 'attempt', 'state', 'cancelled', 'deadline', ended_attempt, ...)
  if tonumber(run.attempt or 0) ~= ref.attempt or tonumber(run[ended_attempt] or 0) == ref.attempt then
    return nil, IS_STALE
  end
  if ENDED[run.state] then return nil, HAS_ENDED end
  local is_late = is_start and run.deadline and tonumber(run.deadline) < now
  if not run.cancelled and not is_late then return run end
  if not end_run then end_run, has_room = load_ending() end
  if has_room(ref.key, jobs_ended) then  -- else expire.lua ends its jobs: all are due
    local ending = {state = 'failed', payload = arguments.expired}
    jobs_ended = jobs_ended + end_run(ref.key, ending)
  end
  return nil, HAS_ENDED
end
