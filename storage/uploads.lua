-- Write an upload's record and, once its bytes are there, that this original is there.
-- KEYS: upload, upload of original (or '')   ARGV: ttl ms, upload id, then fields and values
local fields = {}
for i = 3, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if KEYS[2] ~= '' then redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[1]) end
return 1
