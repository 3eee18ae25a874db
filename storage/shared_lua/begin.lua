-- Needs stage.
-- A stage begins for a run.
-- Arguments: state, progress, lease_ms, and those of stage.lua.
local stage = arguments.stage
local starts_field = 'starts:' .. stage
local lease = as_text(now + arguments.lease_ms)
local begun = {}  -- {key, version} of each: the script publishes them together

-- `run`: its fields, as live_to_begin has read them. `together`: how many runs begin in one message.
-- Answers {how often this stage has begun, what the run computes, how often it has started again, how many
-- ms its earlier stages took}.
local function begin(ref, run, together)
  local starts, version = tonumber(run[starts_field] or 0) + 1, tonumber(run.version) + 1
  local since = tonumber(run.waiting_since or '')
  local queued_ms = tonumber(run['ms:queued'] or 0) + (since and ms_since(since) or 0)
  redis.call('HSET', RUN .. ref.key, 'state', arguments.state, 'stage', stage, 'progress', arguments.progress,
    'version', version, 'lease', lease, 'began:' .. stage, now_text, starts_field, starts,
    'runs:' .. stage, together, 'ms:queued', as_text(queued_ms), 'waiting_since', '')
  begun[#begun + 1] = {key = ref.key, version = version}
  local worked_ms = tonumber(run['ms:preprocess'] or 0) + tonumber(run['ms:inference'] or 0)
  return {starts, run.spec, tonumber(run.restarts or 0), math.floor(worked_ms)}
end

local function live_to_begin(ref)
  return live_run(ref, true, 'version', 'position', 'waiting_since', 'ms:queued', starts_field, 'spec', 'restarts',
    'ms:preprocess', 'ms:inference')
end
