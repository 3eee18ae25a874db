-- Stands before every script: its arguments by name, and records read by name.
-- ARGV: the table `arguments` as JSON, then the values that it names in `raw`, as they are.
local arguments = cjson.decode(ARGV[1])
for i, name in ipairs(arguments.raw or {}) do arguments[name] = ARGV[i + 1] end

-- These fields of a hash, by name; those that it does not have are nil.
local function read(key, ...)
  local record, names, values = {}, {...}, redis.call('HMGET', key, ...)
  for i = 1, #names do record[names[i]] = values[i] or nil end
  return record
end
