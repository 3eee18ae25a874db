-- Needs ending, quotas.
-- End a run that could not be started, for all who wait for it, and give back what its claim has counted.
-- Arguments: ref {key, attempt}, error (JSON), those of ending.lua, and those of quotas.lua (stored_ttl_ms is 0
--   if its bytes are stored nevertheless)
-- Answers 1, or 0 if the run is stale or has ended.
local ref = arguments.ref
local run = read_run(ref.key, 'state')
if tonumber(run.attempt or 0) ~= ref.attempt or ENDED[run.state] then return 0 end
end_run(ref.key, {state = 'failed', payload = arguments.error}, nil, run)
give_back(tonumber(run.claimed))
return 1
