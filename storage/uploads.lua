-- Write an upload's record and, once its bytes are there, that this original is there.
-- KEYS: upload, and if its bytes are there: upload of that original
-- Arguments: ttl_ms, upload_id, record (fields and values)
local upload, upload_of = unpack(KEYS)
redis.call('HSET', upload, unpack(arguments.record))
redis.call('PEXPIRE', upload, arguments.ttl_ms)
if upload_of then redis.call('SET', upload_of, arguments.upload_id, 'PX', arguments.ttl_ms) end
return 1
