-- Needs time.
-- The users who have jobs, and what they use: those whose histories are youngest first.
-- Arguments: most (users that are looked at)
-- Answers {how many users there are, then for each: name, role, jobs, runs in progress, images today, bytes today,
-- bytes stored}.
local function stored(user)
  local total, entries = 0, redis.call('HGETALL', STORED .. user)
  for at = 1, #entries, 2 do
    if tonumber(entries[at]) * 1000 > now then total = total + entries[at + 1] end
  end
  return total
end

local answer = {redis.call('ZCARD', HISTORIES)}
for _, user in ipairs(redis.call('ZREVRANGE', HISTORIES, 0, arguments.most - 1)) do
  local used = read(USAGE .. user, 'day_ends', 'images_per_day', 'bytes_per_day')
  local is_today = tonumber(used.day_ends or 0) > now
  answer[#answer + 1] = {user, redis.call('HGET', USER .. user, 'role') or '', redis.call('ZCARD', USER_JOBS .. user),
    redis.call('ZCARD', USER_RUNS .. user), is_today and used.images_per_day or 0, is_today and used.bytes_per_day or 0,
    stored(user)}
end
return answer
