-- Needs quotas, wait.
-- What a payer may use, and has used of it.
-- Arguments: those of quotas.lua
-- Answers as `allowances` does.
return allowances(quotas_of_payer(), used_by_payer(), (still_in(USER_RUNS .. payer)))
