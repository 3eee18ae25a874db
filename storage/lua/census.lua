-- What is under way, and what every model has done so far.
-- KEYS: index of active runs, index of models   ARGV: prefix of runs, prefix of counters
-- Answers: per group a JSON of model, lane, line, state, count and oldest ms; then per model its name
-- and counters
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local groups, order, totals = {}, {}, {}

for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local run = redis.call('HMGET', ARGV[1] .. name, 'model', 'lane', 'line', 'state', 'waiting_since')
  if run[1] then
    local since = tonumber(run[5] or '')
    local state = since and 'waiting' or run[4]
    local id = table.concat({run[1], run[2], run[3] or '', state}, ' ')
    local group = groups[id]
    if not group then
      group = {model = run[1], lane = run[2], line = run[3] or '', state = state, count = 0, oldest_ms = 0}
      groups[id], order[#order + 1] = group, id
    end
    group.count = group.count + 1
    if since then group.oldest_ms = math.max(group.oldest_ms, now - since) end
  end
end
local found = {}
for i, id in ipairs(order) do found[i] = cjson.encode(groups[id]) end
for i, model in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  totals[i] = {model, redis.call('HGETALL', ARGV[2] .. model .. ':all')}
end
return {found, totals}
