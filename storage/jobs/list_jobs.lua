-- Some of a user's jobs, newest first.
-- KEYS: jobs of the user
-- Arguments: since_ms, before (score that the jobs are older than; '': the newest), states and models
--   (sets of those that are wanted; empty: all), names (one of which the job's name contains, in lower case;
--   empty: whatever it is called), most (jobs that are answered), look (entries that are
--   looked at)
-- Answers where to go on ('': there are no more), then the ids.
local history = unpack(KEYS)
local from = arguments.before == '' and '+inf' or '(' .. arguments.before
local entries = redis.call('ZREVRANGEBYSCORE', history, from, arguments.since_ms, 'WITHSCORES', 'LIMIT', 0,
  arguments.look)

local function is_among(set, word) return next(set) == nil or set[word] ~= nil end

local function is_called(name)
  for _, part in ipairs(arguments.names) do
    if string.find(string.lower(name or ''), part, 1, true) then return true end
  end
  return #arguments.names == 0
end

-- As a snapshot shows it: the job's own end, else what its run does.
local function state_of(job)
  if ENDED[job.state] then return job.state end
  return redis.call('HGET', RUN .. job.request_key, 'state') or job.state
end

local function is_wanted(id)
  local job = read(JOB .. id, 'state', 'model', 'request_key', 'name')
  return job.state and is_among(arguments.models, job.model) and is_called(job.name)
    and is_among(arguments.states, state_of(job))
end

local found, last = {''}, ''
for i = 1, #entries, 2 do
  if is_wanted(entries[i]) then found[#found + 1] = entries[i] end
  last = entries[i + 1]
  if #found > arguments.most then break end
end
if #entries == 2 * arguments.look or last ~= (entries[#entries] or '') then found[1] = last end
return found
