-- Needs ending.
-- End jobs whose deadline is over (failed) or that nobody keeps alive (cancelled).
-- Arguments: error (JSON of those that are late), most (jobs at a time), and those of ending.lua
-- Answers how many there were: `most` means that there may be more.
local sums = new_sums()

local function end_due(due, ending, most)
  local ids = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(ids) do
    local state = redis.call('HGET', JOB .. id, 'state')
    if state and not ENDED[state] and state ~= 'cancelling' then leave(id, ending, sums) end
  end
  if #ids > 0 then redis.call('ZREM', due, unpack(ids)) end
  return #ids
end

local late = end_due(DEADLINES, {state = 'failed', payload = arguments.error}, arguments.most)
local unseen = end_due(KEEP_ALIVES, CANCELLATION, arguments.most - late)
record_metrics(sums)
return late + unseen
