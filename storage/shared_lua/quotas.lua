-- Needs time, stored.
-- What a payer may use and has used: see storage/quotas.py.
-- Arguments: payer, quotas (name -> the most by default, 0 for no limit), images and bytes (about to be
--   used), stored_ttl_ms (how long the bytes are stored)
local payer = arguments.payer

-- The quotas of the payer, by name; 0 for no limit.
local function quotas_of_payer()
  local own, quotas = read(QUOTA .. payer, unpack(QUOTAS)), {}
  for _, name in ipairs(QUOTAS) do quotas[name] = tonumber(own[name] or arguments.quotas[name] or 0) end
  return quotas
end

-- What was used in the present hour and day, by name, and when they end.
local function used_by_payer()
  local used = read(USAGE .. payer, 'hour_ends', 'images_per_hour', 'bytes_per_hour', 'day_ends', 'images_per_day',
    'bytes_per_day')
  for window, ms in pairs(WINDOWS_MS) do
    local ends = tonumber(used[window .. '_ends'] or 0)
    local is_over = ends <= now or ends > now + ms  -- the clock was set back
    for _, what in ipairs({'images_per_', 'bytes_per_'}) do
      used[what .. window] = is_over and 0 or tonumber(used[what .. window] or 0)
    end
    used[window .. '_ends'] = is_over and 0 or ends
  end
  return used
end

-- The bytes that are stored, and the times (s) at which parts of them expire -> how many.
local function stored_by_payer()
  local total, parts, entries, gone = 0, {}, redis.call('HGETALL', STORED .. payer), {}
  for at = 1, #entries, 2 do
    if tonumber(entries[at]) * 1000 <= now then
      gone[#gone + 1] = entries[at]
    else
      parts[tonumber(entries[at])] = tonumber(entries[at + 1])
      total = total + entries[at + 1]
    end
  end
  if #gone > 0 then redis.call('HDEL', STORED .. payer, unpack(gone)) end
  return total, parts
end

-- In how many ms at least `bytes` of what is stored will have expired.
local function freed_in(parts, bytes)
  local times, freed = {}, 0
  for time in pairs(parts) do times[#times + 1] = time end
  table.sort(times)
  for _, time in ipairs(times) do
    freed = freed + parts[time]
    if freed >= bytes then return time * 1000 - now end
  end
  return #times > 0 and times[#times] * 1000 - now or 0
end

-- Which quota this use would exceed, where that stands, and in how many ms there is room; or nil.
local function exceeded(quotas, used)
  for _, quota in ipairs(WINDOW_QUOTAS) do
    local name, more = quota.name, arguments[quota.of]
    if quotas[name] > 0 and more > 0 and used[name] + more > quotas[name] then
      local ends = used[quota.window .. '_ends']
      return {limit = name, value = used[name], most = quotas[name], room_in_ms = math.max(ends - now, 0)}
    end
  end
  local most = quotas.stored_bytes
  if most == 0 or arguments.images + arguments.bytes == 0 then return nil end
  local stored, parts = stored_by_payer()
  -- What an image will make is not known before: the next one is refused once there is no room at all.
  if stored >= most or stored + arguments.bytes > most then
    local room_in_ms = freed_in(parts, math.max(stored + arguments.bytes - most, 1))
    return {limit = 'stored_bytes', value = stored, most = most, room_in_ms = room_in_ms}
  end
end

-- Note the use.
local function note_use(used)
  if arguments.images + arguments.bytes == 0 then return end
  local words = {}
  for window, ms in pairs(WINDOWS_MS) do
    if used[window .. '_ends'] == 0 then used[window .. '_ends'] = math.floor(now + ms) end
    words[#words + 1], words[#words + 2] = window .. '_ends', string.format('%.0f', used[window .. '_ends'])
  end
  for _, quota in ipairs(WINDOW_QUOTAS) do
    used[quota.name] = used[quota.name] + arguments[quota.of]
    words[#words + 1], words[#words + 2] = quota.name, string.format('%.0f', used[quota.name])
  end
  redis.call('HSET', USAGE .. payer, unpack(words))
  redis.call('PEXPIRE', USAGE .. payer, WINDOWS_MS.day)
  if arguments.bytes > 0 then store(payer, arguments.bytes, expires_s(now, arguments.stored_ttl_ms)) end
end

-- Give back what was noted at that time (ms), unless its window has ended. With a stored_ttl_ms of 0 the bytes go
-- on counting as stored.
local function give_back(noted_at)
  local usage = read(USAGE .. payer, 'hour_ends', 'day_ends')
  for _, quota in ipairs(WINDOW_QUOTAS) do
    local ends = tonumber(usage[quota.window .. '_ends'] or 0)
    if ends > now and ends - WINDOWS_MS[quota.window] <= noted_at then
      redis.call('HINCRBY', USAGE .. payer, quota.name, -arguments[quota.of])
    end
  end
  if arguments.stored_ttl_ms > 0 then store(payer, -arguments.bytes, expires_s(noted_at, arguments.stored_ttl_ms)) end
end

-- For each quota: the most, what is used, and in how many ms that changes.
local function allowances(quotas, used, in_flight)
  local answer = {}
  local function add(name, used_now, left_ms)
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = quotas[name], used_now, math.ceil(left_ms)
  end
  for _, quota in ipairs(WINDOW_QUOTAS) do
    add(quota.name, used[quota.name], math.max(used[quota.window .. '_ends'] - now, 0))
  end
  local stored, parts = stored_by_payer()
  add('stored_bytes', stored, freed_in(parts, 1))
  add('jobs_in_flight', in_flight, 0)
  return answer
end
