-- Queue messages of the broker.
-- KEYS: the list of each message
-- Arguments: messages
-- Answers how many they are.
for i, list in ipairs(KEYS) do redis.call('LPUSH', list, arguments.messages[i]) end
return #KEYS
