-- Needs quotas.
-- Count no longer what `use_quota` has counted, unless its window has ended.
-- Arguments: those of quotas.lua, as they were then, and used_at_ms (when that was)
give_back(arguments.used_at_ms)
return 1
