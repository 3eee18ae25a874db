-- Runs that have not ended: name, number, name, number ...   KEYS: index of active runs   ARGV: run prefix
local found = {}
for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('HGET', ARGV[1] .. name, 'n') or '0'
end
return found
