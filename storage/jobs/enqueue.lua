-- Queue messages of the broker.   KEYS: list per message   ARGV: text per message
for i, list in ipairs(KEYS) do redis.call('LPUSH', list, ARGV[i]) end
return #KEYS
