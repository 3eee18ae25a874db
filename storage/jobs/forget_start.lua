-- A worker stops and gives runs back amid a stage, which is no crash: that start counts as none.
-- KEYS: run per run   ARGV: stage, then one run number per run
local starts = 'deliveries:' .. ARGV[1]
for i, run in ipairs(KEYS) do
  local was = redis.call('HMGET', run, 'n', starts)
  if was[1] == ARGV[1 + i] and tonumber(was[2] or 0) > 0 then redis.call('HINCRBY', run, starts, -1) end
end
return #KEYS
