-- Needs time.
-- What each model did in each of the last minutes, the present one included.
-- Arguments: minutes (how many), most (models at most), fields (counters of a minute)
-- Answers {the present minute since 1970, {model, then for each minute that has any, oldest first: its number and
-- the values of the fields ('' where there is none)} of each model}.
local present, answer = math.floor(now / 60000), {}
local models = redis.call('SMEMBERS', MODELS)
table.sort(models)
for i = 1, math.min(#models, arguments.most) do
  local row = {models[i]}
  for minute = present - arguments.minutes + 1, present do
    local values, is_there = redis.call('HMGET', METRICS .. models[i] .. ':' .. minute, unpack(arguments.fields)), false
    for at = 1, #values do
      is_there = is_there or values[at]
      values[at] = values[at] or ''
    end
    if is_there then row[#row + 1], row[#row + 2] = minute, values end
  end
  answer[i] = row
end
return {present, answer}
