-- Needs page.
-- What runs under way compute, a page at a time: their uploads must stay.
-- Arguments: after (score of the last run of the page before; '' at first), most
-- Answers where the next page begins ('' after the last one), then {user, spec} of each run.
local request_keys, next_after = page(arguments.after, arguments.most)
local answer = {next_after}
for _, key in ipairs(request_keys) do
  local run = read(RUN .. key, 'user', 'spec')
  if run.user and run.spec then answer[#answer + 1] = {run.user, run.spec} end
end
return answer
