-- Needs tickets.
-- A run that was claimed is ready: its bytes are stored. It goes into the backlog, unless it is there
-- already, or is stale.
-- Arguments: key, attempt, preprocess_ms (how long its first stage takes, about), and those of tickets.lua
-- Answers 1 if it went there now, else 0.
local name = RUN .. arguments.key
local run = read(name, 'attempt', 'state', 'unqueued', 'priority', 'model', 'tag')
if tonumber(run.attempt or 0) ~= arguments.attempt or not run.unqueued or ENDED[run.state] then return 0 end
redis.call('HDEL', name, 'unqueued')
redis.call('HSET', name, 'preprocess_ms', arguments.preprocess_ms)
add_to_backlog(name, run.priority, run.model, run.tag)
return 1
