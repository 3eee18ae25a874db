-- A worker stops and puts runs back in the middle of a stage, which is no crash: that start counts as
-- none.
-- Arguments: runs (each {key, attempt}), ticket (id of the one that they were taken for, if the message
--   names none), stage
local starts_field = 'starts:' .. arguments.stage
local taken = redis.call('GET', TICKET_RUNS .. arguments.ticket)
local refs = taken and cjson.decode(taken).refs or arguments.runs
for _, ref in ipairs(refs) do
  local run = read(RUN .. ref.key, 'attempt', starts_field)
  if tonumber(run.attempt or 0) == ref.attempt and tonumber(run[starts_field] or 0) > 0 then
    redis.call('HINCRBY', RUN .. ref.key, starts_field, -1)
  end
end
return #refs
