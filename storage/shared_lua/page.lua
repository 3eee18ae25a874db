-- Some of the runs under way, oldest claim first: their request keys after the score `after` ('' at
-- first), and where the next page begins ('' after the last). Each claim has a time of its own, so a
-- score names one run.
local function page(after, most)
  local from = after == '' and '-inf' or '(' .. after
  local scored = redis.call('ZRANGEBYSCORE', ACTIVE, from, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
  local request_keys = {}
  for i = 1, #scored, 2 do request_keys[#request_keys + 1] = scored[i] end
  return request_keys, #request_keys == most and scored[#scored] or ''
end
