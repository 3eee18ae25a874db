-- Tells those who wait for a run that it has changed; `more` are further members of the JSON.
local function publish(key, state, version, more)
  local event = '{"state":"' .. state .. '","version":' .. version .. (more or '') .. '}'
  redis.call('PUBLISH', RUN_EVENTS .. key, event)
end

-- The same of the runs of a message, each {key, version}, that go on: several are one event, as every web process
-- reads it, and hardly anybody follows them.
local function publish_together(changed, state)
  if #changed == 0 then return end
  if #changed == 1 then return publish(changed[1].key, state, changed[1].version) end
  local keys = {}
  for i, run in ipairs(changed) do keys[i] = run.key end
  local event = '{"state":"' .. state .. '","runs":["' .. table.concat(keys, '","') .. '"]}'
  redis.call('PUBLISH', EVENTS_OF_SEVERAL, event)
end

-- As which variant a run waits: its own, else its model.
local function waiting_set(record) return WAITING .. (record.variant or record.model) .. ':' .. record.priority end

-- A run that was taken has been through its model, or will not go there.
local function leave_model(name, record)
  redis.call('ZREM', waiting_set(record), name)
  redis.call('ZREM', TAKEN .. record.priority .. ':' .. record.model, name)
end
