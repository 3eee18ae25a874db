-- Needs page.
-- What is under way, a page at a time, and with the first page what every model has done so far.
-- KEYS: index of active runs, index of models
-- ARGV: JSON {run, stat (prefixes), after, most}
-- Answers: where the next page begins ('' after the last); per group of runs a JSON of model, priority,
-- line, state, count and oldest_ms; per model its name and counters.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local groups, order = {}, {}

local function group_of(model, priority, line, state)
  local id = table.concat({model, priority, line, state}, ' ')
  if not groups[id] then
    groups[id] = {model = model, priority = priority, queue = line, state = state, count = 0, oldest_ms = 0}
    order[#order + 1] = id
  end
  return groups[id]
end

local names, after = page(KEYS[1], asked.after, asked.most)
for _, name in ipairs(names) do
  local model, priority, line, state, since =
    unpack(redis.call('HMGET', asked.run .. name, 'model', 'priority', 'line', 'state', 'waiting_since'))
  if model then
    since = tonumber(since or '')
    local group = group_of(model, priority, line or '', since and 'waiting' or state)
    group.count = group.count + 1
    if since then group.oldest_ms = math.max(group.oldest_ms, now - since) end
  end
end

local found, totals = {}, {}
for i, id in ipairs(order) do found[i] = cjson.encode(groups[id]) end
if asked.after == '' then
  for i, model in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    totals[i] = {model, redis.call('HGETALL', asked.stat .. model .. ':all')}
  end
end
return {after, found, totals}
