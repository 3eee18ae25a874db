-- Needs page.
-- Runs that have not ended, a page at a time.
-- Arguments: after, most
-- Answers where the next page begins ('' after the last), then {request key, attempt} per run.
local request_keys, next_after = page(arguments.after, arguments.most)
local answer = {next_after}
for _, key in ipairs(request_keys) do
  answer[#answer + 1] = {key, redis.call('HGET', RUN .. key, 'attempt') or '0'}
end
return answer
