-- Needs page.
-- Runs that have not ended, a page at a time.
-- KEYS: index of active runs
-- ARGV: JSON {run (prefix), after, most}
-- Answers where the next page begins ('' after the last), then request key, number, key, number ...
local asked = cjson.decode(ARGV[1])
local names, after = page(KEYS[1], asked.after, asked.most)
local answer = {after}
for _, name in ipairs(names) do
  answer[#answer + 1] = name
  answer[#answer + 1] = redis.call('HGET', asked.run .. name, 'n') or '0'
end
return answer
