-- Needs time.
-- The backlog: runs that are ready, which no cpu worker has taken yet. A ticket is a message that names no
-- runs: the worker that gets it takes those whose turn it is then (take.lua). There are few at a time.
-- Arguments: ticket_lists (priority -> list), ticket_interactive and ticket_batch (their messages, with
--   TICKET_ID for the id of each). Without them no ticket is queued.
local DEFAULT_ROOM = 32  -- until a web process has written how much there is
local STUCK_MS = 5000
local MOST_STUCK = 50
local MOST_MODELS = 63
local left_to_look_at = 1000  -- runs of all models that may be stuck

-- Runs of `line` that were taken and have not been through their model. One that is long in its first
-- stage does not count: its worker may be gone.
local function taken(line)
  local count = redis.call('ZCARD', TAKEN .. line)
  if count == 0 then return 0 end
  local most = math.min(MOST_STUCK, left_to_look_at)
  local old = redis.call('ZRANGEBYSCORE', TAKEN .. line, '-inf', now - STUCK_MS, 'LIMIT', 0, most)
  left_to_look_at = left_to_look_at - #old
  for _, name in ipairs(old) do
    local state = redis.call('HGET', name, 'state')
    if not state or ENDED[state] then redis.call('ZREM', TAKEN .. line, name) end
    if not state or ENDED[state] or state == 'preprocessing' then count = count - 1 end
  end
  return count
end

-- How many more runs may be taken: what waits behind them would only wait out of order there. Where a model
-- has a limit of its own, runs in any stage before the end of inference count.
local function room_of(priority, model)
  local credits, at_a_time = unpack(redis.call('HMGET', CREDITS, 'runs:' .. model, 'at_a_time:' .. model))
  local most = tonumber(credits or DEFAULT_ROOM)
  local used = taken(priority .. ':' .. model)
  if priority == 'batch' then used = used + taken('interactive:' .. model) end
  if not at_a_time or at_a_time == '0' then return most - used end
  local all = redis.call('ZCARD', TAKEN .. 'interactive:' .. model) + redis.call('ZCARD', TAKEN .. 'batch:' .. model)
  return math.min(most - used, tonumber(at_a_time) - all)
end

-- Models are served in turns: which is next, and how many of its runs there is room for.
local function next_model(priority)
  for _, model in ipairs(redis.call('ZRANGE', TURNS .. priority, 0, MOST_MODELS)) do
    if redis.call('EXISTS', BACKLOG .. priority .. ':' .. model) == 0 then
      redis.call('ZREM', TURNS .. priority, model)
    else
      local room = room_of(priority, model)
      if room > 0 then return model, room end
    end
  end
end

-- Queue a ticket if runs may be taken and few tickets wait.
local function call_worker(priority)
  local list = arguments.ticket_lists and arguments.ticket_lists[priority]
  if not list then return false end
  local most = tonumber(redis.call('HGET', CREDITS, 'tickets') or 1)
  if redis.call('LLEN', list) >= most or not next_model(priority) then return false end
  local id = 'ticket-' .. redis.call('INCR', TICKET_COUNT)
  redis.call('LPUSH', list, (string.gsub(arguments['ticket_' .. priority], 'TICKET_ID', id)))
  return true
end

local function add_to_backlog(name, priority, model, tag)
  redis.call('ZADD', BACKLOG .. priority .. ':' .. model, tag, name)
  redis.call('ZADD', TURNS .. priority, 'NX', now, model)
  call_worker(priority)
end
