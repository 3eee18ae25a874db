-- Needs time.
-- Append an event to one of the audit log's streams, with an id above those that either has had.
-- KEYS: the stream, the other one
-- Arguments: entry (names and values), most (events that the stream keeps, about)
-- Answers the event's id.
local stream = unpack(KEYS)

local function last_id(of)
  if redis.call('EXISTS', of) == 0 then return 0, 0 end
  local info = redis.call('XINFO', 'STREAM', of)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      local ms, number = string.match(info[i + 1], '(%d+)-(%d+)')
      return tonumber(ms), tonumber(number)
    end
  end
end

local ms, number = math.floor(now), 0
for _, of in ipairs(KEYS) do
  local last_ms, last = last_id(of)
  if last_ms > ms then
    ms, number = last_ms, last + 1
  elseif last_ms == ms then
    number = math.max(number, last + 1)
  end
end
return redis.call('XADD', stream, 'MAXLEN', '~', arguments.most, string.format('%.0f-%.0f', ms, number),
  unpack(arguments.entry))
