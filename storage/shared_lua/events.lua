-- Tells those who wait for a run that it has changed; `more` are further members of the JSON.
local function publish(key, state, version, more)
  local event = '{"state":"' .. state .. '","version":' .. version .. (more or '') .. '}'
  redis.call('PUBLISH', RUN_EVENTS .. key, event)
end

-- As which variant a run waits: its own, else its model.
local function waiting_set(record) return WAITING .. (record.variant or record.model) .. ':' .. record.priority end

-- A run that was taken has been through its model, or will not go there.
local function leave_model(name, record)
  redis.call('ZREM', waiting_set(record), name)
  redis.call('ZREM', TAKEN .. record.priority .. ':' .. record.model, name)
end
