-- Shared by the scripts that look at all runs under way, a page at a time.
-- Request keys after the score `after` ('' at first), oldest claim first, and where the next page
-- begins ('' after the last). Each claim has a time of its own, so a score names one run.
local function page(index, after, most)
  local from = after == '' and '-inf' or '(' .. after
  local found = redis.call('ZRANGEBYSCORE', index, from, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  local names = {}
  for i = 1, #found, 2 do names[#names + 1] = found[i] end
  return names, #names == most and found[#found] or ''
end
