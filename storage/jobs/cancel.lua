-- Needs ending.
-- Somebody does not want a job any more.
-- Arguments: job_id, user, and those of ending.lua
-- Answers the job's state from now on, or nil when this user has no such job.
local job = read(JOB .. arguments.job_id, 'user', 'state')
if job.user ~= arguments.user then return nil end
if ENDED[job.state] or job.state == 'cancelling' then return job.state end
return leave(arguments.job_id, CANCELLATION)
