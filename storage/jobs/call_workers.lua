-- Needs tickets.
-- Queue tickets while runs may be taken: some have ended before their model, which made room, or a ticket
-- was lost.
-- Arguments: ticket (id of one whose runs are done with; '': of none), and those of tickets.lua
-- Answers how many tickets were queued.
local queued = 0
if arguments.ticket ~= '' then redis.call('DEL', TICKET_RUNS .. arguments.ticket) end
for priority in pairs(arguments.ticket_lists) do
  if call_worker(priority) then queued = queued + 1 end
end
return queued
