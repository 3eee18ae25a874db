-- Needs page.
-- Find runs whose message or worker is lost, a page at a time. A waiting run is lost when, for
-- `grace_ms`, its queue has been empty or later runs have started before it; a running one when its
-- lease ran out. Waiting is not dying: a long queue is neither.
-- KEYS: index of active runs, lock of the first page
-- A clock that was set back leaves times behind that lie in the future: a lock, a lease or a suspicion
-- that is longer than any is given begins anew now.
-- ARGV: JSON {lock_ms, lease_ms, grace_ms, run, positions, broker (prefixes), after, most}
-- Answers where the next page begins ('' after the last, or if another process looks), then per lost
-- run {request key, number, model, priority, spec}.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local asked = cjson.decode(ARGV[1])
local is_locked = redis.call('PTTL', KEYS[2])
if asked.after == '' and is_locked > 0 and is_locked <= asked.lock_ms then return {''} end
if asked.after == '' then redis.call('SET', KEYS[2], '1', 'PX', asked.lock_ms) end
local stamp = string.format('%.3f', now)
local ENDED = {done = true, failed = true, cancelled = true}
local FIELDS = {'n', 'state', 'lease', 'waiting_since', 'queue', 'priority', 'position', 'model',
  'suspect_since', 'line', 'unsent'}
local empty, started = {}, {}

local function read(key)
  local found, values = {}, redis.call('HMGET', key, unpack(FIELDS))
  for i, name in ipairs(FIELDS) do found[name] = values[i] or nil end
  return found
end

local function is_empty(queue)
  if empty[queue] == nil then
    empty[queue] = true
    for _, step in ipairs({'', '\6\0223', '\6\0226', '\6\0229'}) do
      if redis.call('LLEN', asked.broker .. queue .. step) > 0 then empty[queue] = false end
    end
  end
  return empty[queue]
end

local function highest_started(priority)
  started[priority] = started[priority] or tonumber(redis.call('HGET', asked.positions .. priority, 'started') or 0)
  return started[priority]
end

local function bound_times(key, run)
  if tonumber(run.lease or 0) > now + asked.lease_ms then
    run.lease = string.format('%.3f', now + asked.lease_ms)
    redis.call('HSET', key, 'lease', run.lease)
  end
  if run.suspect_since and tonumber(run.suspect_since) > now then
    run.suspect_since = stamp
    redis.call('HSET', key, 'suspect_since', stamp)
  end
end

local function is_suspect(run)
  -- It runs, or a web process is at it still, bringing its bytes: the lease.
  if not run.waiting_since or run.waiting_since == '' or run.unsent then return tonumber(run.lease) < now end
  return is_empty(run.queue) or tonumber(run.position) < highest_started((run.line or run.queue) .. ':' .. run.priority)
end

local names, after = page(KEYS[1], asked.after, asked.most)
local answer = {after}
for _, name in ipairs(names) do
  local key = asked.run .. name
  local run = read(key)
  bound_times(key, run)
  if not run.n or ENDED[run.state] then
    redis.call('ZREM', KEYS[1], name)
  elseif not is_suspect(run) then
    if run.suspect_since then redis.call('HDEL', key, 'suspect_since') end
  elseif not run.suspect_since then
    redis.call('HSET', key, 'suspect_since', stamp)
  elseif now - tonumber(run.suspect_since) > asked.grace_ms then
    local spec = redis.call('HGET', key, 'spec') or ''
    answer[#answer + 1] = {name, run.n, run.model, run.priority, spec}
  end
end
return answer
