-- The fair order of runs, of each priority and model on its own: start-time fair queueing (Goyal, Vin and
-- Cheng, SIGCOMM 1996). A run gets its start tag when it is claimed: where the run before it of the same
-- flow (as a rule: of the same user) ends, but not before the virtual time, which is the start tag of the run that was taken last.
-- Runs are taken in the order of their start tags.
local STEP = 0.000001  -- so much the virtual time grows with each flow that had nothing: first come, first served

local function as_tag(number) return string.format('%.6f', number) end

local function virtual_time(line) return tonumber(redis.call('HGET', VIRTUAL_TIMES, line) or 0) end

local function finish_tag(line, flow) return tonumber(redis.call('ZSCORE', FINISH_TAGS .. line, flow) or 0) end

-- The start tag that the next run of a flow would get.
local function next_tag(line, flow) return math.max(virtual_time(line), finish_tag(line, flow)) end

-- The start tag of a run that costs its flow `charge`: its cost, divided by the flow's weight.
local function new_tag(line, flow, charge)
  local virtual, finish = virtual_time(line), finish_tag(line, flow)
  if finish <= virtual then redis.call('HSET', VIRTUAL_TIMES, line, as_tag(virtual + STEP)) end
  local tag = math.max(virtual, finish)
  redis.call('ZADD', FINISH_TAGS .. line, as_tag(tag + charge), flow)
  redis.call('PEXPIRE', FINISH_TAGS .. line, arguments.run_ttl_ms)
  return as_tag(tag)
end

-- A run with this start tag was taken. Flows that end before it are as good as new ones.
local function advance(line, tag)
  redis.call('HSET', VIRTUAL_TIMES, line, as_tag(math.max(virtual_time(line), tag)))
  redis.call('ZREMRANGEBYSCORE', FINISH_TAGS .. line, '-inf', '(' .. as_tag(tag))
end
