-- Needs ending.
-- End runs, done or failed, and every job that waits for them. Only with the current run number.
-- ARGV: names (see ending.lua), then per run: request key, number, state, result or error, lasting
--       ('1': a deterministic error)
-- Answers 1 per run, 0 for a stale one, 2 for one whose only job was deleted: its result has to go,
-- unless another job needs it by now. 3 for one that is left as it is, as enough jobs have ended for
-- one script: to be asked for again.
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local names, answers, sums, ended = cjson.decode(ARGV[1]), {}, new_sums(), 0

for i = 1, (#ARGV - 1) / 5 do
  local key, number, state, payload, lasting = unpack(ARGV, 5 * i - 3, 5 * i + 1)
  local was = read(names.run .. key, 'n', 'state', 'erase', 'result_key')
  if was.n ~= number or ENDED[was.state] then
    answers[i] = 0
  elseif not has_room(names, key, ended) then
    answers[i] = 3
  else
    ended = ended + end_run(names, key, state, payload, lasting, now, sums)
    local is_free = was.erase and not is_held(names.result_jobs .. (was.result_key or key), now)
    answers[i] = is_free and 2 or 1
  end
end
book(names, sums, now)
return answers
