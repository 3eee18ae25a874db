-- Needs time, page.
-- What is under way, a page at a time, and with the first page what every model has done so far.
-- Arguments: after, most
-- Answers {where the next page begins ('' after the last), JSON of each Group of runs, {model, its
-- counters} of each model}.
local groups, order = {}, {}

local function group_of(model, priority, queue, state)
  local id = table.concat({model, priority, queue, state}, ' ')
  if not groups[id] then
    groups[id] = {model = model, priority = priority, queue = queue, state = state, count = 0, oldest_ms = 0}
    order[#order + 1] = id
  end
  return groups[id]
end

local request_keys, next_after = page(arguments.after, arguments.most)
for _, key in ipairs(request_keys) do
  local run = read(RUN .. key, 'model', 'priority', 'queue', 'state', 'waiting_since')
  if run.model then
    local since = tonumber(run.waiting_since or '')
    local group = group_of(run.model, run.priority, run.queue or '', since and 'waiting' or run.state)
    group.count = group.count + 1
    if since then group.oldest_ms = math.max(group.oldest_ms, ms_since(since)) end
  end
end

local encoded, totals = {}, {}
for i, id in ipairs(order) do encoded[i] = cjson.encode(groups[id]) end
if arguments.after == '' then
  for i, model in ipairs(redis.call('SMEMBERS', MODELS)) do
    totals[i] = {model, redis.call('HGETALL', METRICS .. model .. ':all')}
  end
end
return {next_after, encoded, totals}
