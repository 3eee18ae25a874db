-- Needs stage.
-- A stage has ended for the runs of its message, and the message for the next one is queued: no crash
-- can come between.
-- KEYS: list of the message ('': none is to be queued), positions of the next queue (after the last
--   stage there is none)
-- Arguments: runs (each {key, attempt}), model, state, progress, lease_ms, next_queue, next_broker_queue,
--   message, ticket (id of the one that the runs were taken for; '': none), and those of stage.lua and
--   tickets.lua
-- Answers 1 per run, or the answer of live_run.
local list, next_positions = unpack(KEYS)
local stage = arguments.stage
local began_field = 'began:' .. stage
local lease, ended, answers = as_text(now + arguments.lease_ms), {}, {}

-- There is room in front of the model again.
local function call_next()
-- Insert tickets.
  if not call_worker('interactive') then call_worker('batch') end
end

local function finish(ref, run)
  local name, version = RUN .. ref.key, tonumber(run.version) + 1
  local ms, place = ms_since(run[began_field] or now), {}
  if next_positions then
    place = {'position', redis.call('HINCRBY', next_positions, 'next', 1), 'queue', arguments.next_queue,
      'broker_queue', arguments.next_broker_queue}
  end
  redis.call('HSET', name, 'progress', arguments.progress, 'version', version, 'lease', lease,
    ended_attempt, ref.attempt, 'ms:' .. stage, as_text(ms), 'waiting_since', now_text, unpack(place))
  if stage == 'inference' then leave_model(name, run) end
  ended[#ended + 1] = {key = ref.key, version = version}
end

for i, ref in ipairs(arguments.runs) do
  local run, answer = live_run(ref, false, 'version', began_field, 'variant', 'model', 'priority')
  if run then finish(ref, run) end
  answers[i] = run and 1 or answer
end
local is_handed_on = #ended > 0
publish_together(ended, arguments.state)
if arguments.ticket ~= '' then redis.call('DEL', TICKET_RUNS .. arguments.ticket) end
if is_handed_on and stage == 'inference' then
  redis.call('HSET', MEAN_STAGE_MS .. arguments.model, 'inferred', now_text)
  call_next()
end
if is_handed_on and list ~= '' then redis.call('LPUSH', list, arguments.message) end
return answers
