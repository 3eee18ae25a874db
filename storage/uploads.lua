-- Needs time, stored.
-- Write an upload's record and, once its bytes are there, that this original is there.
-- KEYS: upload, and if its bytes are there: upload of that original
-- Arguments: ttl_ms, upload_id, record (fields and values), and unless nobody pays for its bytes: stored
--   {payer, bytes, is_counted (whether they count as stored already)}
local upload, upload_of = unpack(KEYS)
local stored = arguments.stored
if stored then
  local before, expires = read(upload, 'payer', 'stored_bytes', 'stored_until'), expires_s(now, arguments.ttl_ms)
  if before.stored_until then store(before.payer, -before.stored_bytes, before.stored_until) end
  if before.stored_until or not stored.is_counted then store(stored.payer, stored.bytes, expires) end
  redis.call('HSET', upload, 'payer', stored.payer, 'stored_bytes', stored.bytes, 'stored_until', expires)
end
redis.call('HSET', upload, unpack(arguments.record))
redis.call('PEXPIRE', upload, arguments.ttl_ms)
if upload_of then redis.call('SET', upload_of, arguments.upload_id, 'PX', arguments.ttl_ms) end
return 1
