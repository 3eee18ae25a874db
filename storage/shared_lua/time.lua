-- Redis time in ms. Records have times as text, as Lua writes a number in 14 digits: too few.
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local function as_text(ms) return string.format('%.3f', ms) end
local now_text = as_text(now)
-- A time that a clock has noted which was set back since lies in the future: no time has passed.
local function ms_since(time) return math.max(now - tonumber(time), 0) end
