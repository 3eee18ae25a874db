-- Needs time, events.
-- A worker may not do these runs: they wait, in no queue, until they are requeued for the versions that
-- workers have then. As find_lost sees it they are lost from now on, and the first times have been for
-- almost as long as they must: another worker may well do them. What they did so far counts no more.
-- Arguments: runs (each {key, attempt}), lease_ms, grace_ms, first_ms (how long a run waits the first time;
--   each time twice as long, up to grace_ms), most (how often at most)
-- Answers 1 per run, 0 if it is stale or was released too often.
local lease, answers = as_text(now + arguments.lease_ms), {}

local function release(ref)
  local name = RUN .. ref.key
  local run = read(name, 'attempt', 'state', 'releases', 'priority', 'model')
  local releases = tonumber(run.releases or 0) + 1
  local is_stale = tonumber(run.attempt or 0) ~= ref.attempt or ENDED[run.state]
  if is_stale or releases > arguments.most then return 0 end
  local wait_ms = math.min(arguments.grace_ms, arguments.first_ms * 2 ^ (releases - 1))
  redis.call('HSET', name, 'state', 'queued', 'stage', '', 'progress', 0, 'lease', lease, 'releases', releases,
    'broker_queue', 'cpu', 'queue', 'cpu', 'position', -1, 'waiting_since', now_text,
    'suspect_since', as_text(now + wait_ms - arguments.grace_ms))
  for _, stage in ipairs(STAGES) do
    redis.call('HDEL', name, 'starts:' .. stage, 'ended_attempt:' .. stage)
  end
  local line = run.priority .. ':' .. run.model
  redis.call('ZREM', BACKLOG .. line, name)
  redis.call('ZREM', TAKEN .. line, name)
  publish(ref.key, 'queued', redis.call('HINCRBY', name, 'version', 1))
  return 1
end

for i, ref in ipairs(arguments.runs) do answers[i] = release(ref) end
return answers
