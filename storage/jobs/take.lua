-- Needs begin, fair, tickets.
-- A cpu worker has a ticket: it takes runs of one model from the backlog, in fair order, and their first
-- stage begins. While others may be taken, another ticket is queued. A ticket that was delivered before
-- brings the runs that it was taken for: its worker may have died of one of them.
-- Arguments: ticket (its id), priority, most (runs), most_ms (of their first stage together), ticket_ttl_ms,
--   and those of begin.lua and tickets.lua
-- Answers {model, then per run {key, attempt, and what begin_stage.lua answers}}; the model is '' without runs.
local priority = arguments.priority
local record = TICKET_RUNS .. arguments.ticket

-- The names and references of runs that may be worked on together: few, quick, of one version of their model,
-- and none that lost a worker before.
local function together(scored, room)
  local names, refs, last_tag, spent_ms, version = {}, {}, nil, 0, nil
  for i = 1, #scored, 2 do
    local run = read(scored[i], 'preprocess_ms', 'alone', 'model_version', 'attempt')
    if i == 1 then version = run.model_version end
    spent_ms = spent_ms + tonumber(run.preprocess_ms or 0)
    local is_full = #names == math.min(arguments.most, room) or spent_ms > arguments.most_ms or run.alone
      or run.model_version ~= version
    if #names > 0 and is_full then break end
    names[#names + 1], last_tag = scored[i], scored[i + 1]
    refs[#names] = {key = string.sub(scored[i], #RUN + 1), attempt = tonumber(run.attempt or 0)}
    if run.alone then break end
  end
  return names, refs, last_tag
end

local function taken_from(model, room)
  local line = priority .. ':' .. model
  local scored = redis.call('ZRANGE', BACKLOG .. line, 0, arguments.most - 1, 'WITHSCORES')
  local names, refs, last_tag = together(scored, room)
  redis.call('ZREM', BACKLOG .. line, unpack(names))
  redis.call('ZADD', TURNS .. priority, 'XX', now, model)
  advance(line, tonumber(last_tag))
  local taken_now = {}
  for i, name in ipairs(names) do taken_now[2 * i - 1], taken_now[2 * i] = now, name end
  redis.call('ZADD', TAKEN .. line, unpack(taken_now))
  return refs
end

local function taken_before(text)
  local before = cjson.decode(text)
  return before.model, before.refs
end

local earlier, model, refs, room = redis.call('GET', record)
if earlier then
  model, refs = taken_before(earlier)
else
  model, room = next_model(priority)
  if not model then return {''} end
  refs = taken_from(model, room)
  redis.call('SET', record, cjson.encode({model = model, refs = refs}), 'PX', arguments.ticket_ttl_ms)
end
local answers = {model}
for i, ref in ipairs(refs) do
  local run, answer = live_to_begin(ref)
  local begin_answer = run and begin(ref, run, #refs) or {answer, ''}
  if not run then redis.call('ZREM', TAKEN .. priority .. ':' .. model, RUN .. ref.key) end
  answers[i + 1] = {ref.key, ref.attempt, unpack(begin_answer)}
end
publish_together(begun, arguments.state)
call_worker(priority)
return answers
