-- A part of all keys: those that belong to one of some users.
-- Arguments: cursor ('0' at first), count (about how many keys are looked at), users (a set), named (a set:
--   kinds of keys whose names have the user), noted (a set: kinds of hashes with a field `user`), results
--   (prefix of results in S3)
-- Answers the next cursor ('0' after the last part), how many runs of these users have not ended, then the
--   keys.
local running = 0

-- The user whose folder in S3 a text names.
local function owner_in(text) return text and string.match(text, arguments.results .. '([^/]+)/') end

-- The answer, if it is a text: a key may be of another type than its name says.
local function text_of(...)
  local answer = redis.pcall(...)
  return type(answer) == 'string' and answer or nil
end

local function owner_of(key)
  local kind, name = string.match(key, '^[^:]+:([^:]+):([^:]+)')
  if not kind then return nil end
  if arguments.named[kind] then return name end
  if arguments.noted[kind] then return text_of('HGET', key, 'user') end
  if kind == 'result' or kind == 'result-location' then return owner_in(text_of('GETRANGE', key, 0, 1000)) end
end

local function is_under_way(key)
  if string.sub(key, 1, #RUN) ~= RUN then return false end
  local state = redis.call('HGET', key, 'state')
  return state and not ENDED[state]
end

local scanned = redis.call('SCAN', arguments.cursor, 'COUNT', arguments.count)
local answer = {scanned[1], 0}
for _, key in ipairs(scanned[2]) do
  local owner = owner_of(key)
  if owner and arguments.users[owner] then
    if is_under_way(key) then running = running + 1 else answer[#answer + 1] = key end
  end
end
answer[2] = running
return answer
