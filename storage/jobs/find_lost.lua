-- Needs time, page.
-- Find runs whose message or worker is lost, a page at a time. A run that waits for its first stage is lost
-- when, for `grace_ms`, it has not been in the backlog; one that waits for a later stage when its queue has
-- been empty or later runs have started before it; a running one when its lease ran out. Waiting is not
-- dying: a long queue is neither.
-- A clock that was set back leaves times behind that lie in the future: a lock, a lease or a suspicion
-- that is longer than any is given begins again now.
-- Arguments: lock_ms (of the first page), lease_ms, grace_ms, after, most
-- Answers where the next page begins ('' after the last, or if another process looks), then per lost
-- run {request key, attempt, model, priority, spec}.
local locked_ms = redis.call('PTTL', REAPER_LOCK)
if arguments.after == '' and locked_ms > 0 and locked_ms <= arguments.lock_ms then return {''} end
if arguments.after == '' then redis.call('SET', REAPER_LOCK, '1', 'PX', arguments.lock_ms) end
local is_empty_of, started_of = {}, {}

local function is_empty(broker_queue)
  if is_empty_of[broker_queue] == nil then
    is_empty_of[broker_queue] = true
    for _, suffix in ipairs(PRIORITY_SUFFIXES) do
      if redis.call('LLEN', BROKER .. broker_queue .. suffix) > 0 then is_empty_of[broker_queue] = false end
    end
  end
  return is_empty_of[broker_queue]
end

local function highest_started(queue)
  started_of[queue] = started_of[queue] or tonumber(redis.call('HGET', POSITIONS .. queue, 'started') or 0)
  return started_of[queue]
end

local function bound_times(name, run)
  if tonumber(run.lease or 0) > now + arguments.lease_ms then
    run.lease = as_text(now + arguments.lease_ms)
    redis.call('HSET', name, 'lease', run.lease)
  end
  if run.suspect_since and tonumber(run.suspect_since) > now then
    run.suspect_since = now_text
    redis.call('HSET', name, 'suspect_since', now_text)
  end
end

local function is_suspect(name, run)
  -- It runs, or a web process is still bringing its bytes: the lease decides.
  if not run.waiting_since or run.waiting_since == '' or run.unqueued then return tonumber(run.lease) < now end
  if run.queue == 'cpu' then return not redis.call('ZSCORE', BACKLOG .. run.priority .. ':' .. run.model, name) end
  return is_empty(run.broker_queue) or tonumber(run.position) < highest_started(run.queue .. ':' .. run.priority)
end

local request_keys, next_after = page(arguments.after, arguments.most)
local answer = {next_after}
for _, key in ipairs(request_keys) do
  local name = RUN .. key
  local run = read(name, 'attempt', 'state', 'lease', 'waiting_since', 'broker_queue', 'priority', 'position',
    'model', 'suspect_since', 'queue', 'unqueued')
  bound_times(name, run)
  if not run.attempt or ENDED[run.state] then
    redis.call('ZREM', ACTIVE, key)
  elseif not is_suspect(name, run) then
    if run.suspect_since then redis.call('HDEL', name, 'suspect_since') end
  elseif not run.suspect_since then
    redis.call('HSET', name, 'suspect_since', now_text)
  elseif now - tonumber(run.suspect_since) > arguments.grace_ms then
    local spec = redis.call('HGET', name, 'spec') or ''
    answer[#answer + 1] = {key, run.attempt, run.model, run.priority, spec}
  end
end
return answer
