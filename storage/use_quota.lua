-- Needs quotas, wait.
-- Use something, unless that would exceed a quota of the payer.
-- Arguments: those of quotas.lua
-- Answers {'', Redis time in ms, then what is left of each quota: see allowances}, or {limit, value, most,
--   room_in_ms}.
local quotas, used = quotas_of_payer(), used_by_payer()
local refused = exceeded(quotas, used)
if refused then
  return {refused.limit, refused.value, refused.most, math.ceil(refused.room_in_ms)}
end
note_use(used)
return {'', now_text, unpack(allowances(quotas, used, (still_in(USER_RUNS .. payer))))}
