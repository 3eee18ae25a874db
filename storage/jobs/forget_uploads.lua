-- Needs forget_upload.
-- Forget uploads that were to be deleted when their runs ended, and that no job under way needs.
-- Arguments: most (uploads that are looked at)
-- Answers those that are forgotten: `<user>:<upload>`
local MOST_JOBS = 50  -- of one upload

local function is_needed(member)
  for _, id in ipairs(redis.call('ZRANGE', UPLOAD_JOBS .. member, 0, MOST_JOBS - 1, 'REV')) do
    local state = redis.call('HGET', JOB .. id, 'state')
    if state and not ENDED[state] then return true end
  end
  return false
end

local forgotten = {}
for _, member in ipairs(redis.call('SRANDMEMBER', UNNEEDED_UPLOADS, arguments.most)) do
  if not is_needed(member) then
    local user, upload = string.match(member, '^(.*):([^:]*)$')
    forget_upload(user, upload)
    redis.call('SREM', UNNEEDED_UPLOADS, member)
    forgotten[#forgotten + 1] = member
  end
end
return forgotten
